package routes

// Topic is the topic of these events: they are published on the subject "events.routes".
const Topic = "routes"

// Owner is the slug of the service that publishes them.
const Owner = "proxy-svc"
