package main

import (
	"context"
	"database/sql"
	stderrors "errors"

	"go-micro.dev/v5/client"
	"go-micro.dev/v5/errors"
)

const name = "orders"

// Order of a user.
type Order struct {
	ID        int64 `json:"id"`
	UserID    int64 `json:"user_id"`
	ProductID int64 `json:"product_id"`
	Quantity  int64 `json:"quantity"`
	Total     int64 `json:"total"` // cents
}

// CreateRequest says who wants how much of what.
type CreateRequest struct {
	UserID    int64 `json:"user_id"`
	ProductID int64 `json:"product_id"`
	Quantity  int64 `json:"quantity"`
}

// ReadRequest names an order.
type ReadRequest struct {
	ID int64 `json:"id"`
}

// ListRequest asks for a user's orders.
type ListRequest struct {
	UserID int64 `json:"user_id"`
}

// ListResponse is orders.
type ListResponse struct {
	Orders []Order `json:"orders"`
}

// Orders is the service's handler.
type Orders struct {
	store  *store
	client client.Client
}

// product is what this service needs to know of one.
type product struct {
	Price int64 `json:"price"`
}

// Create takes an order: of a user that there is, and a product of which there is enough.
func (o *Orders) Create(ctx context.Context, in *CreateRequest, out *Order) error {
	if err := o.call(ctx, "users", "Users.Read", map[string]any{"id": in.UserID}, &struct{}{}); err != nil {
		return err
	}
	var p product
	if err := o.call(ctx, "products", "Products.Take", map[string]any{"id": in.ProductID, "quantity": in.Quantity}, &p); err != nil {
		return err
	}
	*out = Order{UserID: in.UserID, ProductID: in.ProductID, Quantity: in.Quantity, Total: p.Price * in.Quantity}
	return o.store.row(ctx, "INSERT INTO orders (user_id, product_id, quantity, total) VALUES ($1, $2, $3, $4) RETURNING id",
		out.UserID, out.ProductID, out.Quantity, out.Total).Scan(&out.ID)
}

// Read gives an order.
func (o *Orders) Read(ctx context.Context, in *ReadRequest, out *Order) error {
	err := o.store.row(ctx, "SELECT id, user_id, product_id, quantity, total FROM orders WHERE id = $1", in.ID).
		Scan(&out.ID, &out.UserID, &out.ProductID, &out.Quantity, &out.Total)
	if stderrors.Is(err, sql.ErrNoRows) {
		return errors.NotFound(name, "there is no order %d", in.ID)
	}
	return err
}

// List gives a user's orders.
func (o *Orders) List(ctx context.Context, in *ListRequest, out *ListResponse) error {
	out.Orders = []Order{}
	return o.store.each(ctx, "SELECT id, user_id, product_id, quantity, total FROM orders WHERE user_id = $1 ORDER BY id", func(scan func(...any) error) error {
		var one Order
		err := scan(&one.ID, &one.UserID, &one.ProductID, &one.Quantity, &one.Total)
		out.Orders = append(out.Orders, one)
		return err
	}, in.UserID)
}

// call calls another service. Nothing is repeated: a product that is taken twice is gone twice.
func (o *Orders) call(ctx context.Context, service, endpoint string, in, out any) error {
	req := o.client.NewRequest(service, endpoint, in, client.WithContentType("application/json"))
	return o.client.Call(ctx, req, out, client.WithRetries(0))
}
