package main

import (
	"context"
	"database/sql"
	stderrors "errors"

	"go-micro.dev/v5/errors"
)

const name = "products"

// Product is what the shop sells.
type Product struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Price int64  `json:"price"` // cents
	Stock int64  `json:"stock"`
}

// CreateRequest says what is to be sold.
type CreateRequest struct {
	Name  string `json:"name"`
	Price int64  `json:"price"`
	Stock int64  `json:"stock"`
}

// ReadRequest names a product.
type ReadRequest struct {
	ID int64 `json:"id"`
}

// ListRequest asks for all products, or those alone that there are some of.
type ListRequest struct {
	Available bool `json:"available"`
}

// ListResponse is products.
type ListResponse struct {
	Products []Product `json:"products"`
}

// TakeRequest asks for some of a product.
type TakeRequest struct {
	ID       int64 `json:"id"`
	Quantity int64 `json:"quantity"`
}

// Products is the service's handler.
type Products struct{ store *store }

// Create adds a product.
func (p *Products) Create(ctx context.Context, in *CreateRequest, out *Product) error {
	if in.Name == "" || in.Price < 0 || in.Stock < 0 {
		return errors.BadRequest(name, "a product needs a name, and a price and a stock of at least 0")
	}
	*out = Product{Name: in.Name, Price: in.Price, Stock: in.Stock}
	return p.store.row(ctx, "INSERT INTO products (name, price, stock) VALUES ($1, $2, $3) RETURNING id", in.Name, in.Price, in.Stock).Scan(&out.ID)
}

// Read gives a product.
func (p *Products) Read(ctx context.Context, in *ReadRequest, out *Product) error {
	err := p.store.row(ctx, "SELECT id, name, price, stock FROM products WHERE id = $1", in.ID).Scan(&out.ID, &out.Name, &out.Price, &out.Stock)
	if stderrors.Is(err, sql.ErrNoRows) {
		return errors.NotFound(name, "there is no product %d", in.ID)
	}
	return err
}

// List gives products.
func (p *Products) List(ctx context.Context, in *ListRequest, out *ListResponse) error {
	least := 0
	if in.Available {
		least = 1
	}
	out.Products = []Product{}
	return p.store.each(ctx, "SELECT id, name, price, stock FROM products WHERE stock >= $1 ORDER BY id", func(scan func(...any) error) error {
		var one Product
		err := scan(&one.ID, &one.Name, &one.Price, &one.Stock)
		out.Products = append(out.Products, one)
		return err
	}, least)
}

// Take takes some of a product out of the stock, and gives what is left of it.
func (p *Products) Take(ctx context.Context, in *TakeRequest, out *Product) error {
	if in.Quantity <= 0 {
		return errors.BadRequest(name, "quantity must be at least 1")
	}
	err := p.store.row(ctx, "UPDATE products SET stock = stock - $1 WHERE id = $2 AND stock >= $1 RETURNING id, name, price, stock", in.Quantity, in.ID).
		Scan(&out.ID, &out.Name, &out.Price, &out.Stock)
	if !stderrors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err := p.Read(ctx, &ReadRequest{ID: in.ID}, out); err != nil {
		return err
	}
	return errors.Conflict(name, "there are only %d of %s", out.Stock, out.Name)
}
