package instances

// Topic is the topic of these events: they are published on the subject "events.instances".
const Topic = "instances"
