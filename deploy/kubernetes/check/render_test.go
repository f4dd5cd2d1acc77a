// Package check_test renders the overlays as `kubectl apply -k` does, decodes every object strictly into the API's own Go
// types, and checks what the API server can't: that the parts fit together, and fit what the services' programs take.
//
// It is a module of its own, so that the mesh doesn't depend on Kubernetes.
package check_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	manifests  = ".."
	repository = "../../.."
)

var overlays = []string{"small", "replicated"}

// cluster is what an overlay says, by kind and name.
type cluster struct {
	deployments  map[string]*appsv1.Deployment
	statefulSets map[string]*appsv1.StatefulSet
	services     map[string]*corev1.Service
	budgets      map[string]*policyv1.PodDisruptionBudget
	policies     map[string]*networkingv1.NetworkPolicy
	accounts     map[string]*corev1.ServiceAccount
	configMaps   map[string]*corev1.ConfigMap
	secrets      map[string]*corev1.Secret
}

// decoder refuses fields that the types don't have, and such as come twice.
var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // these always fit together
		}
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
})

func eachOverlay(t *testing.T, check func(t *testing.T, c *cluster)) {
	t.Helper()
	dir := withSecrets(t)
	for _, name := range overlays {
		t.Run(name, func(t *testing.T) { check(t, render(t, filepath.Join(dir, "overlays", name))) })
	}
}

// withSecrets copies the manifests, and makes the secrets as base/kustomization.yaml says.
func withSecrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range []string{"base", "overlays"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(manifests, part))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "base", "secrets")); err != nil { // of whoever works here
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "base", "secrets"), os.DirFS(secrets(t))); err != nil {
		t.Fatal(err)
	}
	return dir
}

var made struct {
	once sync.Once
	dir  string
	err  error
}

// secrets gives a folder that `micro secrets init` has made, once for all tests.
func secrets(t *testing.T) string {
	t.Helper()
	made.once.Do(func() {
		if made.dir, made.err = os.MkdirTemp("", "micromesh-check-"); made.err != nil {
			return
		}
		args := []string{"run", "./cmd/micro", "secrets", "init", "--dir", made.dir}
		for _, host := range []string{"nats-0.nats", "nats-1.nats", "nats-2.nats"} {
			args = append(args, "--nats-host", host)
		}
		_, made.err = goCommand(args...)
	})
	if made.err != nil {
		t.Fatal(made.err)
	}
	return made.dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	if made.dir != "" {
		_ = os.RemoveAll(made.dir)
	}
	os.Exit(code)
}

// goCommand runs the go command in the repository's own module.
func goCommand(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = repository
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		os.Stderr.Write(stderr.Bytes())
	}
	return string(out), err
}

func render(t *testing.T, dir string) *cluster {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		map[string]*appsv1.Deployment{}, map[string]*appsv1.StatefulSet{}, map[string]*corev1.Service{}, map[string]*policyv1.PodDisruptionBudget{},
		map[string]*networkingv1.NetworkPolicy{}, map[string]*corev1.ServiceAccount{}, map[string]*corev1.ConfigMap{}, map[string]*corev1.Secret{},
	}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		c.add(t, decode(t, r.CurId().String(), text))
	}
	return c
}

func decode(t *testing.T, name string, text []byte) runtime.Object {
	t.Helper()
	obj, _, err := decoder().Decode(text, nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return obj
}

func (c *cluster) add(t *testing.T, obj runtime.Object) {
	t.Helper()
	if _, ok := obj.(*corev1.Namespace); !ok && obj.(metav1.Object).GetNamespace() != "micromesh" {
		t.Errorf("%s is in namespace %q", obj.(metav1.Object).GetName(), obj.(metav1.Object).GetNamespace())
	}
	switch o := obj.(type) {
	case *appsv1.Deployment:
		c.deployments[o.Name] = o
	case *appsv1.StatefulSet:
		c.statefulSets[o.Name] = o
	case *corev1.Service:
		c.services[o.Name] = o
	case *policyv1.PodDisruptionBudget:
		c.budgets[o.Name] = o
	case *networkingv1.NetworkPolicy:
		c.policies[o.Name] = o
	case *corev1.ServiceAccount:
		c.accounts[o.Name] = o
	case *corev1.ConfigMap:
		c.configMaps[o.Name] = o
	case *corev1.Secret:
		c.secrets[o.Name] = o
	case *corev1.Namespace:
	default:
		t.Errorf("nothing checks a %T", o)
	}
}

// TestSourcesAreStrict decodes the files as they lie here: rendering would hide a field that comes twice.
func TestSourcesAreStrict(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(manifests, "base", "*.yaml"))
	if err != nil || len(files) < 8 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue // of which the renderer is strict
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
			decode(t, file, doc)
		}
	}
}

// workload is a Deployment or a StatefulSet.
type workload struct {
	name     string
	replicas int32
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
}

func (c *cluster) workloads() []workload {
	var all []workload
	for _, d := range c.deployments {
		all = append(all, workload{d.Name, *d.Spec.Replicas, d.Spec.Selector, d.Spec.Template})
	}
	for _, s := range c.statefulSets {
		all = append(all, workload{s.Name, *s.Spec.Replicas, s.Spec.Selector, s.Spec.Template})
	}
	return all
}
