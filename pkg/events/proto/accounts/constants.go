package accounts

// Topic is the topic of these events: they are published on the subject "events.accounts".
const Topic = "accounts"
