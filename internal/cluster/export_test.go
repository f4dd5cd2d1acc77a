package cluster

// Secrets is the folder of the mesh's secrets.
func (c *Cluster) Secrets() string { return c.secret() }
