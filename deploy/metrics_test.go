// Package deploy_test holds what is deployed against what really runs.
package deploy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest/upstream"
)

func TestMain(m *testing.M) { cluster.Main(m) }

const admin, password = "admin", "password-of-admin"

// series are the metrics that processes give: the labels that each has, and their values.
type series map[string]map[string][]string

var sample = regexp.MustCompile(`(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? `)

var label = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"`)

func (s series) scrape(t *testing.T, address string) {
	t.Helper()
	rsp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(rsp.Body)
	if err != nil || rsp.StatusCode != http.StatusOK {
		t.Fatalf("metrics of %s: %s, %v", address, rsp.Status, err)
	}
	for _, m := range sample.FindAllStringSubmatch(string(text), -1) {
		if s[m[1]] == nil {
			s[m[1]] = map[string][]string{}
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			s[m[1]][l[1]] = append(s[m[1]][l[1]], l[3])
		}
	}
}

// ofScraping are the labels that prometheus.yml gives to everything.
var ofScraping = []string{"job", "instance", "process"}

// query is an expression, or what fills a variable of the dashboard, with where it stands.
type query struct{ where, text string }

// TestMetricsOfDashboardAndAlertsExist scrapes the processes of a mesh that has served requests of each kind.
func TestMetricsOfDashboardAndAlertsExist(t *testing.T) {
	c := cluster.Start(t, cluster.Config{Of: map[string]map[string]string{
		"user":      {"MICRO_ADMIN_PASSWORD": password},
		"forwarder": {"MICRO_FORWARD_TARGET": "cloudevents", "MICRO_FORWARD_URL": upstream.Start(t).URL},
	}})
	serve(t, c)
	given := series{"up": {}}
	for _, processes := range c.Services {
		given.scrape(t, processes[0].Health())
	}
	queries := append(alerts(t), dashboard(t)...)
	if len(queries) < 20 {
		t.Fatalf("only %d queries were found", len(queries))
	}
	for _, q := range queries {
		given.check(t, q)
	}
}

// gauge gives the value of one series of a process, -1 where there is none.
func gauge(t *testing.T, p *cluster.Process, name string) float64 {
	t.Helper()
	rsp, err := http.Get("http://" + p.Health() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return -1
}

// awaitGauge waits until a value fits.
func awaitGauge(t *testing.T, p *cluster.Process, name string, fits func(float64) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		v := gauge(t, p, name)
		if fits(v) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s of %s is %v", name, p.Name, v)
			return
		}
	}
}

// TestMetricsTellOfAnOutage has NATS go while an account and an instance are registered, and come back.
func TestMetricsTellOfAnOutage(t *testing.T) {
	c := cluster.Start(t, cluster.Config{Of: map[string]map[string]string{"user": {"MICRO_ADMIN_PASSWORD": password}}})
	serve(t, c)
	const outbox, connected, age = `mesh_outbox_oldest_seconds{service="user-svc"}`, "mesh_nats_connected", "mesh_gateway_table_age_seconds"
	user, registry, gateway := c.Services["user"][0], c.Services["registry"][0], c.Services["gateway"][0]
	is := func(want float64) func(float64) bool { return func(v float64) bool { return v == want } }
	old := func(v float64) bool { return v > 7 } // while the watch lives it is 5 at most, and a moment
	young := func(v float64) bool { return v >= 0 && v < 7 }
	awaitGauge(t, registry, `mesh_registry_instances{status="Healthy"}`, is(1))
	awaitGauge(t, user, outbox, is(0))
	awaitGauge(t, gateway, age, young)
	c.NATS.Kill()
	call(t, c, "POST", "/user-svc/register", "", map[string]any{"slug": "joe", "name": "Joe", "password": "password-of-joe"}, 200)
	awaitGauge(t, user, outbox, func(v float64) bool { return v > 0 })
	for _, p := range []*cluster.Process{user, registry, gateway} {
		awaitGauge(t, p, connected, is(0))
	}
	awaitGauge(t, gateway, age, old)
	c.NATS.Start()
	awaitGauge(t, gateway, age, young)
	awaitGauge(t, user, outbox, is(0))
	awaitGauge(t, user, connected, is(1))
	if gauge(t, user, `mesh_database_connections_max{service="user-svc"}`) < 1 {
		t.Error("the user service has no connections to its database")
	}
}

// serve makes a request of each kind, and one that fails.
func serve(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	login := call(t, c, "POST", "/user-svc/login", "", map[string]any{"appHost": "unnamed", "slug": admin, "password": password}, 200)
	var out struct{ Token struct{ Token string } }
	if err := json.Unmarshal(login, &out); err != nil {
		t.Fatal(err)
	}
	token := out.Token.Token
	call(t, c, "POST", "/user-svc/login", "", map[string]any{"appHost": "unnamed", "slug": admin, "password": "wrong-password"}, 401)
	call(t, c, "PUT", "/registry-svc/instance", token, map[string]any{"url": upstream.Start(t).URL}, 201)
	call(t, c, "GET", "/"+admin+"/x", "", nil, 200)
	call(t, c, "POST", "/proxy-svc/routes", token, map[string]any{}, 200)
	call(t, c, "GET", "/nothing/x", "", nil, 404)
}

func call(t *testing.T, c *cluster.Cluster, method, path, token string, in any, want int) []byte {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.Gateway(0)+path, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil || rsp.StatusCode != want {
		t.Fatalf("%s %s: %s, want %d: %s %v", method, path, rsp.Status, want, b, err)
	}
	return b
}

var (
	quoted    = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	selector  = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}`)
	matchers  = regexp.MustCompile(`\{[^}]*\}`)
	spans     = regexp.MustCompile(`\[[^]]*\]`)
	groupings = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	names     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	operators = []string{"and", "or", "unless", "bool"}
)

// check fails the test where a query names a metric that there isn't, or a label or a value that its metrics don't have.
func (s series) check(t *testing.T, q query) {
	t.Helper()
	bare := matchers.ReplaceAllString(q.text, "")
	bare = spans.ReplaceAllString(quoted.ReplaceAllString(bare, ""), "")
	metrics := map[string]bool{}
	for _, name := range names.FindAllString(groupings.ReplaceAllString(bare, ""), -1) {
		if name = strings.TrimSpace(name); strings.HasSuffix(name, "(") || slices.Contains(operators, name) {
			continue
		}
		metrics[name] = true
		if s[name] == nil {
			t.Errorf("%s: no process gives the metric %s", q.where, name)
		}
	}
	if len(metrics) == 0 {
		t.Errorf("%s names no metric: %s", q.where, q.text)
	}
	for _, m := range selector.FindAllStringSubmatch(q.text, -1) {
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			s.checkLabel(t, q, l[1], map[string]bool{m[1]: true})
			if values := s[m[1]][l[1]]; l[2] == "=" && len(values) > 0 && !slices.Contains(values, l[3]) {
				t.Errorf("%s: label %s of %s is never %s", q.where, l[1], m[1], l[3])
			}
		}
	}
	for _, g := range groupings.FindAllStringSubmatch(bare, -1) {
		for name := range strings.SplitSeq(g[1], ",") {
			s.checkLabel(t, q, strings.TrimSpace(name), metrics)
		}
	}
}

func (s series) checkLabel(t *testing.T, q query, name string, metrics map[string]bool) {
	t.Helper()
	for m := range metrics {
		if s[m] != nil && s[m][name] == nil && !slices.Contains(ofScraping, name) {
			t.Errorf("%s: the metric %s has no label %s", q.where, m, name)
		}
	}
}

// alerts are the expressions of the alerting rules. Fields that a rule doesn't have are errors, and so are alerts of which
// the guide doesn't say what to do.
func alerts(t *testing.T) []query {
	t.Helper()
	guide, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	strictly(t, "prometheus/alerts.yml", &file)
	var out []query
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			out = append(out, query{"alert " + r.Alert, r.Expr})
			if !strings.Contains(string(guide), "`"+r.Alert+"`") {
				t.Errorf("nothing says what to do about %s", r.Alert)
			}
			if r.Annotations["summary"] == "" || !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) {
				t.Errorf("alert %s: %v, %v", r.Alert, r.Labels, r.Annotations)
			}
		}
	}
	return out
}

func strictly(t *testing.T, name string, into any) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

var variable = regexp.MustCompile(`label_values\(([^,]*),\s*([a-z_]+)\)`)

// dashboard are the expressions of the panels, and what fills the variables.
func dashboard(t *testing.T) []query {
	t.Helper()
	text, err := os.ReadFile("grafana/micromesh.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var out []query
	for _, p := range file.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			out = append(out, query{"panel " + p.Title, target.Expr})
		}
	}
	for _, v := range file.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := variable.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Fatalf("variable %s: %s", v.Name, v.Definition)
		}
		out = append(out, query{"variable " + v.Name, "count by (" + m[2] + ") (" + m[1] + ")"})
	}
	return out
}

// TestScrapesEveryService checks that prometheus.yml asks each service, and gives the labels that the queries use.
func TestScrapesEveryService(t *testing.T) {
	var file struct {
		Global    map[string]string
		RuleFiles []string `yaml:"rule_files"`
		Scrape    []struct {
			Job string `yaml:"job_name"`
			DNS []struct {
				Names   []string
				Type    string
				Port    int
				Refresh string `yaml:"refresh_interval"`
			} `yaml:"dns_sd_configs"`
			Relabel []struct {
				From  []string `yaml:"source_labels"`
				Regex string
				To    string `yaml:"target_label"`
			} `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	strictly(t, "prometheus/prometheus.yml", &file)
	if len(file.Scrape) != 1 || len(file.Scrape[0].DNS) != 1 || len(file.Scrape[0].Relabel) != 1 {
		t.Fatalf("scrapes %+v", file.Scrape)
	}
	job, all := file.Scrape[0], append(slices.Clone(cluster.Services), "forwarder")
	if job.Job != "micromesh" || !slices.Equal(job.DNS[0].Names, all) || job.Relabel[0].To != "process" {
		t.Errorf("scrapes %+v", job)
	}
	process := regexp.MustCompile("^(?:" + job.Relabel[0].Regex + ")$")
	for _, name := range append([]string{"user.micromesh", "gateway-pods.micromesh"}, all...) {
		if m := process.FindStringSubmatch(name); m == nil || !slices.Contains(all, m[1]) {
			t.Errorf("%s is process %v", name, m)
		}
	}
	if !slices.Equal(file.RuleFiles, []string{"alerts.yml"}) {
		t.Errorf("rules are in %v", file.RuleFiles)
	}
}
