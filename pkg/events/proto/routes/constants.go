package routes

// Topic is the topic of these events: they are published on the subject "events.routes".
const Topic = "routes"
