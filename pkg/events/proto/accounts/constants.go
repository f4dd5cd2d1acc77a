package accounts

// Topic is the topic of these events: they are published on the subject "events.accounts".
const Topic = "accounts"

// Owner is the slug of the service that publishes them.
const Owner = "user-svc"
