package main

import (
	"context"
	"database/sql"
	stderrors "errors"

	"go-micro.dev/v5/errors"
)

const name = "users"

// User of the shop.
type User struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

// CreateRequest says who is to be made.
type CreateRequest struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// ReadRequest names a user.
type ReadRequest struct {
	ID int64 `json:"id"`
}

// ListRequest asks for everybody.
type ListRequest struct{}

// ListResponse is everybody.
type ListResponse struct {
	Users []User `json:"users"`
}

// Users is the service's handler.
type Users struct{ store *store }

// Create makes a user. An address has one user.
func (u *Users) Create(ctx context.Context, in *CreateRequest, out *User) error {
	if in.Name == "" || in.Email == "" {
		return errors.BadRequest(name, "a user needs a name and an email")
	}
	*out = User{Name: in.Name, Email: in.Email}
	err := u.store.row(ctx, "INSERT INTO users (name, email) VALUES ($1, $2) ON CONFLICT (email) DO NOTHING RETURNING id", in.Name, in.Email).Scan(&out.ID)
	if stderrors.Is(err, sql.ErrNoRows) {
		return errors.Conflict(name, "%s is the email of another user", in.Email)
	}
	return err
}

// Read gives a user.
func (u *Users) Read(ctx context.Context, in *ReadRequest, out *User) error {
	if in.ID <= 0 {
		return errors.BadRequest(name, "id is required: a positive number")
	}
	err := u.store.row(ctx, "SELECT id, name, email FROM users WHERE id = $1", in.ID).Scan(&out.ID, &out.Name, &out.Email)
	if stderrors.Is(err, sql.ErrNoRows) {
		return errors.NotFound(name, "there is no user %d", in.ID)
	}
	return err
}

// List gives everybody.
func (u *Users) List(ctx context.Context, _ *ListRequest, out *ListResponse) error {
	out.Users = []User{}
	return u.store.each(ctx, "SELECT id, name, email FROM users ORDER BY id", func(scan func(...any) error) error {
		var one User
		err := scan(&one.ID, &one.Name, &one.Email)
		out.Users = append(out.Users, one)
		return err
	})
}
