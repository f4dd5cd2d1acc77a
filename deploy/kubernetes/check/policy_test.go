package check_test

import (
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// end is one end of a connection.
type end struct {
	namespace string
	labels    map[string]string
}

var (
	outside    = end{"", nil} // of the cluster
	stranger   = end{"micromesh", map[string]string{"app.kubernetes.io/name": "stranger"}}
	instance   = end{"shop", map[string]string{"app.kubernetes.io/name": "shop"}}
	prometheus = end{"monitoring", map[string]string{"app.kubernetes.io/name": "prometheus"}}
)

// TestWhoMaySpeakWithWhom judges connections as a network plugin does, by all policies of an overlay.
func TestWhoMaySpeakWithWhom(t *testing.T) {
	all := []string{"user", "registry", "proxy", "gateway", "forwarder", "nats", "postgres"}
	rows := []struct {
		to   string
		port int32
		from []string // of all, and of the others
	}{
		{"user", 9000, services},
		{"registry", 9000, services},
		{"proxy", 9000, services},
		{"gateway", 9000, services},
		{"user", 9100, []string{"prometheus"}},
		{"gateway", 9100, []string{"prometheus"}},
		{"gateway", 8080, []string{"outside", "instance", "prometheus"}}, // what is in the namespace is let out to RPC alone
		{"nats", 4222, programs},
		{"nats", 6222, []string{"nats"}},
		{"nats", 8222, nil},
		{"postgres", 5432, []string{"user", "registry", "proxy"}},
		{"instance", 8000, []string{"gateway", "registry", "outside", "instance", "prometheus"}},
		{"outside", 443, []string{"outside", "instance", "prometheus", "forwarder"}},
		{"outside", 80, []string{"outside", "instance", "prometheus"}},
		{"forwarder", 9100, []string{"prometheus"}},
		{"forwarder", 9000, nil},
	}
	eachOverlay(t, func(t *testing.T, c *cluster) {
		ends := map[string]end{"outside": outside, "stranger": stranger, "instance": instance, "prometheus": prometheus}
		for _, w := range c.workloads() {
			ends[w.name] = end{"micromesh", w.template.Labels}
		}
		for _, r := range rows {
			for _, from := range append(slices.Clone(all), "outside", "stranger", "instance", "prometheus") {
				if got, want := c.allowed(t, ends[from], ends[r.to], r.port), slices.Contains(r.from, from); got != want {
					t.Errorf("%s to %s:%d: allowed %v, want %v", from, r.to, r.port, got, want)
				}
			}
		}
	})
}

// allowed tells whether a connection is: each end's policies must let it pass, if it has any.
func (c *cluster) allowed(t *testing.T, from, to end, port int32) bool {
	t.Helper()
	out, outJudged, in, inJudged := false, false, false, false
	for _, p := range c.policies {
		if slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) && covers(t, p, from) {
			outJudged = true
			for _, r := range p.Spec.Egress {
				out = out || (reaches(t, p, r.To, to) && opens(r.Ports, port))
			}
		}
		if slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) && covers(t, p, to) {
			inJudged = true
			for _, r := range p.Spec.Ingress {
				in = in || (reaches(t, p, r.From, from) && opens(r.Ports, port))
			}
		}
	}
	return (out || !outJudged) && (in || !inJudged)
}

// covers tells whether a policy is about a pod.
func covers(t *testing.T, p *networkingv1.NetworkPolicy, e end) bool {
	t.Helper()
	return e.namespace == p.Namespace && fits(t, &p.Spec.PodSelector, e.labels)
}

// reaches tells whether an end is among the peers; no peers are everybody.
func reaches(t *testing.T, p *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer, e end) bool {
	t.Helper()
	for _, peer := range peers {
		if peer.IPBlock != nil { // of the world without what is private, where all pods are
			if e.namespace == "" {
				return true
			}
			continue
		}
		inNamespace := e.namespace == p.Namespace
		if peer.NamespaceSelector != nil {
			inNamespace = e.namespace != "" && fits(t, peer.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": e.namespace})
		}
		pods := peer.PodSelector
		if pods == nil {
			pods = &metav1.LabelSelector{} // all of the namespace
		}
		if inNamespace && fits(t, pods, e.labels) {
			return true
		}
	}
	return len(peers) == 0
}

// opens tells whether a port is among those of a rule; none are all.
func opens(ports []networkingv1.NetworkPolicyPort, port int32) bool {
	for _, p := range ports {
		if p.Port.IntVal == port {
			return true
		}
	}
	return len(ports) == 0
}
