package check_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var services = []string{"user", "registry", "proxy", "gateway"}

// programs are the services, and what an overlay may have beside them.
var programs = append(slices.Clone(services), "forwarder")

func TestEverythingIsThere(t *testing.T) {
	eachOverlay(t, func(t *testing.T, c *cluster) {
		for _, name := range programs {
			if c.deployments[name] == nil {
				t.Errorf("no Deployment %s", name)
			}
		}
		for _, name := range []string{"nats", "postgres"} {
			if s := c.statefulSets[name]; s == nil || len(s.Spec.VolumeClaimTemplates) == 0 {
				t.Errorf("no StatefulSet %s with a volume of its own", name)
			} else if c.services[s.Spec.ServiceName] == nil {
				t.Errorf("%s: there is no Service %s", name, s.Spec.ServiceName)
			}
		}
	})
}

func TestReplicatedIsReplicated(t *testing.T) {
	eachOverlay(t, func(t *testing.T, c *cluster) {
		nats := *c.statefulSets["nats"].Spec.Replicas
		if got := c.environment(c.deployments["user"].Spec.Template.Spec.Containers[0])["MICRO_NATS_REPLICAS"]; got != strconv.Itoa(int(nats)) {
			t.Errorf("%s copies on %d NATS servers", got, nats)
		}
		if !strings.HasSuffix(t.Name(), "/replicated") {
			return
		}
		for _, name := range services {
			if n := *c.deployments[name].Spec.Replicas; n < 2 {
				t.Errorf("%d of %s", n, name)
			}
		}
		if nats != 3 || c.statefulSets["nats"].Spec.Template.Spec.Affinity == nil {
			t.Errorf("%d NATS servers, with affinity %v", nats, c.statefulSets["nats"].Spec.Template.Spec.Affinity)
		}
	})
}

func TestPodsAreConfined(t *testing.T) {
	eachOverlay(t, func(t *testing.T, c *cluster) {
		for _, w := range c.workloads() {
			pod := w.template.Spec
			if s := pod.SecurityContext; s == nil || !is(s.RunAsNonRoot) || s.RunAsUser == nil || *s.RunAsUser == 0 || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: security context %+v", w.name, s)
			}
			if account := c.accounts[pod.ServiceAccountName]; account == nil || is(account.AutomountServiceAccountToken) || account.AutomountServiceAccountToken == nil || pod.AutomountServiceAccountToken == nil || is(pod.AutomountServiceAccountToken) {
				t.Errorf("%s has a token of the API", w.name)
			}
			if pod.HostNetwork || pod.HostPID || pod.HostIPC || pod.EnableServiceLinks == nil || is(pod.EnableServiceLinks) {
				t.Errorf("%s shares what it must not", w.name)
			}
			for _, k := range append(slices.Clone(pod.InitContainers), pod.Containers...) {
				s := k.SecurityContext
				if s == nil || !is(s.ReadOnlyRootFilesystem) || s.AllowPrivilegeEscalation == nil || is(s.AllowPrivilegeEscalation) || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || is(s.Privileged) {
					t.Errorf("%s: container's security context %+v", w.name, s)
				}
				confinedResources(t, w.name, k)
				if _, tag, ok := strings.Cut(k.Image, ":"); !ok || tag == "" || tag == "latest" {
					t.Errorf("%s: image %s has no version", w.name, k.Image)
				}
			}
		}
	})
}

func confinedResources(t *testing.T, name string, k corev1.Container) {
	t.Helper()
	r := k.Resources
	if r.Requests.Cpu().IsZero() || r.Requests.Memory().IsZero() || r.Limits.Memory().IsZero() || r.Requests.Memory().Cmp(*r.Limits.Memory()) > 0 {
		t.Errorf("%s: resources %+v", name, r)
	}
	for _, e := range k.Env {
		if n, ok := strings.CutSuffix(e.Value, "MiB"); ok && e.Name == "GOMEMLIMIT" {
			if mib, err := strconv.ParseInt(n, 10, 64); err != nil || mib<<20 >= r.Limits.Memory().Value() {
				t.Errorf("%s: GOMEMLIMIT %s in %s", name, e.Value, r.Limits.Memory())
			}
		}
	}
}

func is(b *bool) bool { return b != nil && *b }

// port finds a container's port by its name.
func port(k corev1.Container, name string) int32 {
	for _, p := range k.Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}

func TestProbes(t *testing.T) {
	eachOverlay(t, func(t *testing.T, c *cluster) {
		for _, w := range c.workloads() {
			k := w.template.Spec.Containers[0]
			for what, p := range map[string]*corev1.Probe{"liveness": k.LivenessProbe, "readiness": k.ReadinessProbe, "startup": k.StartupProbe} {
				if p == nil {
					t.Errorf("%s has no %s probe", w.name, what)
				} else if h := p.HTTPGet; h != nil && port(k, h.Port.StrVal) == 0 {
					t.Errorf("%s: the %s probe asks port %s, which is none of the container's", w.name, what, h.Port.String())
				}
			}
		}
		for _, name := range programs {
			k := c.deployments[name].Spec.Template.Spec.Containers[0]
			if k.LivenessProbe.HTTPGet.Path != "/healthz" || k.ReadinessProbe.HTTPGet.Path != "/readyz" {
				t.Errorf("%s: probes %+v, %+v", name, k.LivenessProbe.HTTPGet, k.ReadinessProbe.HTTPGet)
			}
			env := c.environment(k)
			for setting, of := range map[string]string{"MICRO_HEALTH_ADDRESS": "health", "MICRO_SERVER_ADDRESS": "rpc", "MICRO_LISTEN": "http"} {
				if at := env[setting]; at != "" && at != "0.0.0.0:"+strconv.Itoa(int(port(k, of))) {
					t.Errorf("%s: %s is %s, and port %s is %d", name, setting, at, of, port(k, of))
				}
			}
		}
	})
}

// callsUnderWay is how long an RPC server lets calls finish: rpc/server's default.
const callsUnderWay = 10 * time.Second

func TestPodsHaveTimeToDrain(t *testing.T) {
	eachOverlay(t, func(t *testing.T, c *cluster) {
		for _, name := range programs {
			pod := c.deployments[name].Spec.Template.Spec
			k := pod.Containers[0]
			least := callsUnderWay
			if d := c.environment(k)["MICRO_DRAIN_TIMEOUT"]; d != "" {
				drain, err := time.ParseDuration(d)
				if err != nil {
					t.Fatal(err)
				}
				least = drain + time.Duration(k.Lifecycle.PreStop.Sleep.Seconds)*time.Second
			}
			if got := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; got <= least {
				t.Errorf("%s has %v, and needs more than %v", name, got, least)
			}
		}
	})
}

func TestSelectorsFindPods(t *testing.T) {
	eachOverlay(t, func(t *testing.T, c *cluster) {
		budget := map[string]bool{}
		for _, w := range c.workloads() {
			if !fits(t, w.selector, w.template.Labels) {
				t.Errorf("%s doesn't select its own pods", w.name)
			}
			for _, other := range c.workloads() {
				if other.name != w.name && fits(t, w.selector, other.template.Labels) {
					t.Errorf("%s selects the pods of %s", w.name, other.name)
				}
			}
			for _, b := range c.budgets {
				if fits(t, b.Spec.Selector, w.template.Labels) {
					budget[w.name] = true
					if b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntValue() != 1 {
						t.Errorf("budget of %s: %+v", w.name, b.Spec)
					}
				}
			}
			if w.replicas > 1 && !budget[w.name] {
				t.Errorf("%d of %s have no budget", w.replicas, w.name)
			}
		}
		for _, s := range c.services {
			c.checkService(t, s)
		}
	})
}

func fits(t *testing.T, s *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(of))
}

// checkService checks that a Service leads to pods that have its ports.
func (c *cluster) checkService(t *testing.T, s *corev1.Service) {
	t.Helper()
	found := 0
	for _, w := range c.workloads() {
		if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.template.Labels)) {
			continue
		}
		found++
		for _, p := range s.Spec.Ports {
			to := port(w.template.Spec.Containers[0], p.TargetPort.StrVal)
			if p.TargetPort.Type != intstr.String || to == 0 {
				t.Errorf("Service %s: port %s leads to %s, which %s doesn't have", s.Name, p.Name, p.TargetPort.String(), w.name)
			} else if s.Spec.ClusterIP == corev1.ClusterIPNone && to != p.Port {
				t.Errorf("Service %s: port %s is %d, the pod's is %d, and nothing translates", s.Name, p.Name, p.Port, to)
			}
		}
	}
	if found != 1 {
		t.Errorf("Service %s leads to pods of %d workloads", s.Name, found)
	}
}

// environment is what a container is told, with that of its ConfigMaps.
func (c *cluster) environment(k corev1.Container) map[string]string {
	env := map[string]string{}
	for _, from := range k.EnvFrom {
		for name, value := range c.configMaps[from.ConfigMapRef.Name].Data {
			env[name] = value
		}
	}
	for _, e := range k.Env {
		env[e.Name] = e.Value
	}
	return env
}

// beside are variables that are no settings: Go's own, and such as other values are made of.
var beside = []string{"GOMEMLIMIT", "POD_IP", "NODE_NAME"}

var setting = regexp.MustCompile(`\[(MICRO_[A-Z_]+)(\*?)\]`)

// settingsOf are those that a service tells in its help. What may lie in a file has two names.
func settingsOf(t *testing.T, name string) []string {
	t.Helper()
	help, err := goCommand("run", "./"+name, "--help")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, m := range setting.FindAllStringSubmatch(help, -1) {
		known = append(known, m[1])
		if m[2] != "" {
			known = append(known, m[1]+"_FILE")
		}
	}
	return known
}

func TestServicesKnowTheirSettings(t *testing.T) {
	known := map[string][]string{}
	for _, name := range programs {
		known[name] = settingsOf(t, name)
	}
	eachOverlay(t, func(t *testing.T, c *cluster) {
		for _, name := range programs {
			env := c.environment(c.deployments[name].Spec.Template.Spec.Containers[0])
			for v := range env {
				if !slices.Contains(known[name], v) && !slices.Contains(beside, v) {
					t.Errorf("%s knows no setting %s", name, v)
				}
			}
			if env["MICRO_NATS_USER"] != name+"-svc" {
				t.Errorf("%s signs in to NATS as %q", name, env["MICRO_NATS_USER"])
			}
		}
	})
}

// TestFilesAreMounted checks that each file that a setting or nats.conf names is a key of the secret that is mounted there.
func TestFilesAreMounted(t *testing.T) {
	inConfig := regexp.MustCompile(`/etc/nats/secrets/[a-z.]+`)
	eachOverlay(t, func(t *testing.T, c *cluster) {
		for _, w := range c.workloads() {
			var files []string
			for _, v := range c.environment(w.template.Spec.Containers[0]) {
				if strings.HasPrefix(v, "/secrets/") {
					files = append(files, v)
				}
			}
			if w.name == "nats" {
				for _, v := range w.template.Spec.Volumes {
					if v.ConfigMap != nil {
						for _, text := range c.configMaps[v.ConfigMap.Name].Data {
							files = append(files, inConfig.FindAllString(strings.ReplaceAll(text, `"../secrets/`, "/etc/nats/secrets/"), -1)...)
						}
					}
				}
			}
			if len(files) == 0 {
				t.Errorf("%s has no secrets", w.name)
			}
			for _, f := range files {
				if !c.mounted(w, f) {
					t.Errorf("%s: no secret has %s", w.name, f)
				}
			}
			c.checkMounts(t, w)
		}
	})
}

func (c *cluster) mounted(w workload, file string) bool {
	for _, m := range w.template.Spec.Containers[0].VolumeMounts {
		key, ok := strings.CutPrefix(file, m.MountPath+"/")
		if !ok {
			continue
		}
		for _, v := range w.template.Spec.Volumes {
			if v.Name == m.Name && v.Secret != nil {
				return len(c.secrets[v.Secret.SecretName].Data[key]) > 0
			}
		}
	}
	return false
}

// checkMounts checks that what is mounted is there, and that no secret is readable for all.
func (c *cluster) checkMounts(t *testing.T, w workload) {
	t.Helper()
	names := map[string]bool{"data": c.statefulSets[w.name] != nil}
	for _, v := range w.template.Spec.Volumes {
		names[v.Name] = true
		if s := v.Secret; s != nil && (c.secrets[s.SecretName] == nil && !is(s.Optional) || s.DefaultMode == nil || *s.DefaultMode != 0o440) {
			t.Errorf("%s: secret %s with mode %v", w.name, s.SecretName, s.DefaultMode)
		}
		if m := v.ConfigMap; m != nil && c.configMaps[m.Name] == nil {
			t.Errorf("%s: no ConfigMap %s", w.name, m.Name)
		}
	}
	for _, m := range w.template.Spec.Containers[0].VolumeMounts {
		if !names[m.Name] {
			t.Errorf("%s mounts %s, which is no volume", w.name, m.Name)
		}
	}
}

// TestForwarderIsSwitchedOn renders an overlay of the lines that forwarder.yaml gives for it.
func TestForwarderIsSwitchedOn(t *testing.T) {
	dir := withSecrets(t)
	text, err := os.ReadFile(filepath.Join(dir, "base", "forwarder.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: micromesh\nresources: [../../base]\n"
	for line := range strings.Lines(string(text)) {
		if given, ok := strings.CutPrefix(line, "#   "); ok {
			overlay += given
		}
	}
	mine := filepath.Join(dir, "overlays", "mine")
	if err := errors.Join(os.Mkdir(mine, 0o755), os.WriteFile(filepath.Join(mine, "kustomization.yaml"), []byte(overlay), 0o600)); err != nil {
		t.Fatal(err)
	}
	d := render(t, mine)
	pod := d.deployments["forwarder"]
	env := d.environment(pod.Spec.Template.Spec.Containers[0])
	if *pod.Spec.Replicas != 1 || env["MICRO_FORWARD_TARGET"] != "cloudevents" || env["MICRO_FORWARD_TIMEOUT"] != "30s" || !strings.HasPrefix(env["MICRO_FORWARD_TOKEN_FILE"], "/target/") {
		t.Errorf("%d replicas with %v", *pod.Spec.Replicas, env)
	}
}
