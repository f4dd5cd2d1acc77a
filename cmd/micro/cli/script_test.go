package cli_test

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"micromesh/cmd/micro/cli"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
	"micromesh/internal/protogen"
)

func TestMain(m *testing.M) {
	meshtest.Play()
	protogen.Plugin()
	testscript.Main(m, map[string]func(){
		"micro": func() { os.Exit(cli.Run(os.Args, cli.System())) },
	})
}

// TestScripts runs the scripts of testdata, each against a mesh of its own with an instance to forward to.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			t := env.T().(testing.TB)
			m := meshtest.Start(t)
			mesh := m.URL
			if strings.HasSuffix(env.WorkDir, "-call") {
				serveOthers(t, m)
			}
			if strings.HasSuffix(env.WorkDir, "-gen") {
				writeModule(t, env)
			}
			if strings.HasSuffix(env.WorkDir, "-revoke") {
				writeCertificate(t, env.WorkDir+"/cert.pem", "shop.example.com")
			}
			env.Setenv("MESH", mesh)
			env.Setenv("MICRO_SERVER", mesh)
			env.Setenv("WEB", upstream.Start(t).URL)
			env.Setenv("MICRO_CONFIG", env.WorkDir+"/config.json")
			env.Setenv("ADMIN", meshtest.AdminSlug)
			env.Setenv("ADMIN_PASSWORD", meshtest.AdminPassword)
			return nil
		},
	})
}
