// Package models is what the service speaks of. Its TypeScript types are made of it by tygo: `go generate ./examples/widgets`.
package models

import "time"

// Widget is a thing that somebody has made.
type Widget struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Color     Color     `json:"color"`
	Price     int64     `json:"price"` // cents
	OwnerID   string    `json:"ownerId"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// Color of a widget.
type Color string

// The colors that there are.
const (
	Red   Color = "red"
	Green Color = "green"
	Blue  Color = "blue"
)

// WidgetInput is what an owner says of a widget.
type WidgetInput struct {
	Name  string `json:"name" validate:"required,max=80"`
	Color Color  `json:"color" validate:"required,oneof=red green blue"`
	Price int64  `json:"price" validate:"gte=0,lte=100000000"`
}

// WidgetQuery says which widgets to list.
type WidgetQuery struct {
	Color Color  `json:"color,omitempty" validate:"omitempty,oneof=red green blue"`
	Limit int    `json:"limit,omitempty" validate:"gte=0,lte=100"` // 20 where it is 0
	After string `json:"after,omitempty"`                          // what the page before gave as next
}

// WidgetPage is a part of a list.
type WidgetPage struct {
	Widgets []Widget `json:"widgets"`
	Next    string   `json:"next,omitempty"` // to ask for more; empty at the end
}

// Problem is the shape of an error: the mesh's.
type Problem struct {
	Error   string   `json:"error"`
	Code    string   `json:"code"` // in SCREAMING_SNAKE
	Details []Detail `json:"details,omitempty"`
}

// Detail is what is wrong with a field.
type Detail struct {
	Field   string `json:"field"`
	Rule    string `json:"rule"`
	Message string `json:"message"`
}
