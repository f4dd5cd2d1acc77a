package handler_test

import (
	"strings"
	"testing"

	"micromesh/gateway/handler"
)

// TestOriginsThatBrowsersSend checks origins as an operator may write them.
func TestOriginsThatBrowsersSend(t *testing.T) {
	for origin, wrong := range map[string]string{
		"https://app.example.com":             "",
		"https://app.example.com:8443":        "",
		"http://localhost:3000":               "",
		"http://127.0.0.1":                    "",
		"http://[::1]:3000":                   "",
		"https://xn--bcher-kva.example":       "",
		"chrome-extension://abcdefghijklmnop": "",
		"moz-extension://0b0c-11":             "",
		"capacitor://localhost":               "",
		"app://.":                             "",
		"vscode-webview://1x":                 "",
		"https://app.example.com/":            "must be scheme://host[:port]",
		"https://app.example.com/x":           "must be scheme://host[:port]",
		"https://app.example.com?x":           "must be scheme://host[:port]",
		"https://u@app.example.com":           "must be scheme://host[:port]",
		"https://*.example.com":               "must be scheme://host[:port]",
		"app.example.com":                     "must be scheme://host[:port]",
		"HTTPS://app.example.com":             "must be scheme://host[:port]",
		"https://":                            "must be scheme://host[:port]",
		"":                                    "must be scheme://host[:port]",
		"https://App.example.com":             "never matches: browsers write https://app.example.com",
		"https://app.example.com:443":         "never matches: browsers write https://app.example.com",
		"http://app.example.com:80":           "never matches: browsers write http://app.example.com",
		"https://app.example.com.":            "never matches: browsers write https://app.example.com",
		"https://bücher.example":              "must be scheme://host[:port]",
		"http://[0:0::1]":                     "never matches: browsers write http://[::1]",
		"https://app.example.com:99999":       "must be a host name",
		"https://app.example.com:080":         "must be a host name",
		"null":                                "page in a sandbox",
		"*":                                   "every page",
		"file://x":                            "origin null",
	} {
		err := handler.CheckOrigin(origin)
		if (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v, want %q", origin, err, wrong)
		}
	}
}
