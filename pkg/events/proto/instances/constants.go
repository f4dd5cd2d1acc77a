package instances

// Topic is the topic of these events: they are published on the subject "events.instances".
const Topic = "instances"

// Owner is the slug of the service that publishes them.
const Owner = "registry-svc"
