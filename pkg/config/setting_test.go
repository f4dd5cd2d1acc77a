package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/config"
)

type settings struct {
	URL      string        `env:"MICRO_URL" required:"" secret:"" help:"where it is"`
	Password string        `env:"MICRO_PASSWORD" secret:"" help:"a secret"`
	Life     time.Duration `env:"MICRO_LIFE" envDefault:"90m" help:"how long"`
	On       bool          `env:"MICRO_ON" help:"whether"`
	Count    int           `env:"MICRO_COUNT" envDefault:"3"`
	Names    []string      `env:"MICRO_NAMES"`
	internal string
}

func TestSettingsAreWhatTagsSay(t *testing.T) {
	want := []config.Setting{
		{Env: "MICRO_URL", Help: "where it is", Required: true, Secret: true},
		{Env: "MICRO_PASSWORD", Help: "a secret", Secret: true},
		{Env: "MICRO_LIFE", Default: "1h30m0s", Help: "how long"},
		{Env: "MICRO_ON", Default: "false", Help: "whether", Bool: true},
		{Env: "MICRO_COUNT", Default: "3"},
		{Env: "MICRO_NAMES"},
	}
	got := config.Settings(&settings{}, &settings{})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings differ (-want +got):\n%s", diff)
	}
	if flag := (config.Setting{Env: "MICRO_DATABASE_URL"}).Flag(); flag != "database-url" {
		t.Errorf("the flag is %s", flag)
	}
}

func TestFormatIsTheReverseOfParse(t *testing.T) {
	want := settings{URL: "u", Life: 2 * time.Hour, On: true, Count: 0, Names: []string{"a", "b"}}
	var got settings
	if err := config.Parse(config.Format(&want), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Errorf("differs (-want +got):\n%s", diff)
	}
	_ = want.internal
}

func TestSecretsMayLieInFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("geheim\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := config.Settings(&settings{})
	got, err := config.Resolve(map[string]string{"MICRO_URL": "u", "MICRO_PASSWORD_FILE": file}, all)
	if err != nil || got["MICRO_PASSWORD"] != "geheim" {
		t.Errorf("got %q, %v", got["MICRO_PASSWORD"], err)
	}
	for name, row := range map[string]struct {
		environ map[string]string
		want    string
	}{
		"nothing that is required": {nil, "MICRO_URL is not set; it must be where it is"},
		"both":                     {map[string]string{"MICRO_URL": "u", "MICRO_URL_FILE": file}, "MICRO_URL and MICRO_URL_FILE are both set"},
		"no such file":             {map[string]string{"MICRO_URL_FILE": file + "x"}, "MICRO_URL_FILE: open "},
		"an empty file":            {map[string]string{"MICRO_URL_FILE": os.DevNull}, "MICRO_URL is not set"},
	} {
		_, err := config.Resolve(row.environ, all)
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, err, row.want)
		}
	}
}

func TestJoinSaysEachSettingOnce(t *testing.T) {
	malformed := errors.New("MICRO_LIFE is \"soon\"; it must be a duration")
	invalid := errors.Join(errors.New("MICRO_LIFE is 0s; it must be at least 1s"), errors.New("MICRO_COUNT is 9; it must be less"))
	want := malformed.Error() + "\nMICRO_COUNT is 9; it must be less"
	if got := config.Join(malformed, invalid); got.Error() != want {
		t.Errorf("got %v", got)
	}
	if config.Join(nil, nil) != nil || config.Join(malformed, nil).Error() != malformed.Error() || config.Join(nil, invalid).Error() != invalid.Error() {
		t.Error("what one of them says alone was changed")
	}
}
