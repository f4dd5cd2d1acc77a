package handler

import (
	"time"

	registrypb "micromesh/registry/proto"
	"micromesh/registry/service"
)

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z") // as many digits in each
}

func toInstance(in *service.Instance) *registrypb.Instance {
	return &registrypb.Instance{
		Id: in.ID, Slug: in.Slug, Url: in.URL.String(), Scheme: in.URL.Scheme, Host: in.Host, Ip: in.IP, Port: int32(in.URL.Port), //nolint:gosec // a port
		Path: in.URL.Path, DeploymentId: in.DeploymentID, HealthPath: in.HealthPath, Metadata: in.Metadata, Tags: in.Tags,
		Generation: in.Generation, NodeUrl: in.NodeURL, Status: string(in.Status), Details: in.Details, LastHeartbeat: stamp(in.LastHeartbeat),
	}
}

func toNode(n *service.Node) *registrypb.Node {
	usage := func(g service.Gauge) *registrypb.Usage {
		return &registrypb.Usage{Percent: g.Percent, Total: g.Total, Used: g.Used}
	}
	return &registrypb.Node{
		Id: n.ID, Url: n.URL, Region: n.Region, AvailabilityZone: n.AvailabilityZone, LastHeartbeat: stamp(n.LastHeartbeat),
		Usage: &registrypb.ResourceUsage{Cpu: usage(n.Usage.CPU), Memory: usage(n.Usage.Memory), Disk: usage(n.Usage.Disk)},
	}
}

func fromDefinition(in *registrypb.Definition) service.Definition {
	d := service.Definition{ID: in.GetId()}
	for _, a := range in.GetApiSpecs() {
		d.APISpecs = append(d.APISpecs, service.APISpec{Metadata: a.GetMetadata(), ProtocolType: a.GetProtocolType(), URL: a.GetUrl(), Version: a.GetVersion()})
	}
	for _, c := range in.GetClients() {
		d.Clients = append(d.Clients, service.Client{Language: c.GetLanguage(), URL: c.GetUrl()})
	}
	for _, e := range in.GetEnvars() {
		d.EnvVars = append(d.EnvVars, service.EnvVar{Key: e.GetKey(), Value: e.GetValue()})
	}
	for _, p := range in.GetPorts() {
		d.Ports = append(d.Ports, service.Port{Host: p.GetHost(), Internal: p.GetInternal()})
	}
	if i := in.GetImage(); i != nil {
		d.Image = &service.Image{Name: i.GetName(), InternalPorts: i.GetInternalPorts()}
	}
	if r := in.GetRepository(); r != nil {
		d.Repository = &service.Repository{
			BuildContext: r.GetBuildContext(), ContainerFile: r.GetContainerFile(), InternalPorts: r.GetInternalPorts(), URL: r.GetUrl(), Version: r.GetVersion(),
		}
	}
	return d
}

func toDefinition(d *service.Definition) *registrypb.Definition {
	out := &registrypb.Definition{Id: d.ID}
	for _, a := range d.APISpecs {
		out.ApiSpecs = append(out.ApiSpecs, &registrypb.APISpec{Metadata: a.Metadata, ProtocolType: a.ProtocolType, Url: a.URL, Version: a.Version})
	}
	for _, c := range d.Clients {
		out.Clients = append(out.Clients, &registrypb.Client{Language: c.Language, Url: c.URL})
	}
	for _, e := range d.EnvVars {
		out.Envars = append(out.Envars, &registrypb.EnvVar{Key: e.Key, Value: e.Value})
	}
	for _, p := range d.Ports {
		out.Ports = append(out.Ports, &registrypb.PortMapping{Host: p.Host, Internal: p.Internal})
	}
	if i := d.Image; i != nil {
		out.Image = &registrypb.ImageSpec{Name: i.Name, InternalPorts: i.InternalPorts}
	}
	if r := d.Repository; r != nil {
		out.Repository = &registrypb.RepositorySpec{
			BuildContext: r.BuildContext, ContainerFile: r.ContainerFile, InternalPorts: r.InternalPorts, Url: r.URL, Version: r.Version,
		}
	}
	return out
}
