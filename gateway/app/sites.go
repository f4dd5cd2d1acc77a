package app

import (
	"slices"

	"micromesh/gateway/service"
)

// addSites adds the guests that serve HTTP and have no methods, as go-micro's package web makes them. Requests are forwarded to them as
// to instances.
func (a *App) addSites(slugs map[string][]service.Instance) {
	sites := map[string][]service.Instance{}
	for _, s := range a.host.Nodes.Services() {
		var list []service.Instance
		for _, n := range s.Nodes {
			if n.Web() {
				list = append(list, service.Instance{ID: n.ID, URL: "http://" + n.Address, Live: true})
			}
		}
		if before := a.sites[s.Name]; slices.Equal(before, list) {
			list = before // the table knows it
		}
		if len(list) > 0 {
			sites[s.Name], slugs[service.SiteKey(s.Name)] = list, list
		}
	}
	a.sites = sites
}
