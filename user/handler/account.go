package handler

import (
	"context"

	"micromesh/pkg/errs"
	"micromesh/user/service"

	userpb "micromesh/user/proto"
)

// Register implements userpb.UserServiceHandler.
func (h *Handler) Register(ctx context.Context, in *userpb.RegisterRequest, out *userpb.RegisterResponse) error {
	t, err := h.svc.Register(ctx, ipOf(ctx), service.Registration{
		AppHost: in.GetAppHost(), Slug: in.GetSlug(), Name: in.GetName(), Password: in.GetPassword(), Device: in.GetDevice(),
		Contact: contactProof(in.GetContact()),
	})
	if err != nil {
		return err
	}
	out.Token = token(t)
	return nil
}

func contactProof(in *userpb.ContactInput) *service.ContactProof {
	if in == nil {
		return nil
	}
	return &service.ContactProof{Platform: in.GetPlatform(), Handle: in.GetId(), CodeID: in.GetOtpId(), Code: in.GetOtpCode()}
}

// ReadSelf implements userpb.UserServiceHandler.
func (h *Handler) ReadSelf(ctx context.Context, in *userpb.ReadSelfRequest, out *userpb.ReadSelfResponse) error {
	me, err := h.svc.ReadSelf(ctx, h.caller(ctx), in.GetCountTokens())
	if err != nil {
		return err
	}
	out.User = user(me.Account)
	out.Contacts = each(me.Contacts, contact)
	out.Organizations = each(me.Organizations, organization)
	out.Roles = me.Roles
	out.ActiveOrganizationId = optional(me.ActiveOrg)
	out.TokenCount = int32(me.Tokens) //nolint:gosec // bounded by devices
	return nil
}

// SaveSelf implements userpb.UserServiceHandler.
func (h *Handler) SaveSelf(ctx context.Context, in *userpb.SaveSelfRequest, _ *userpb.SaveSelfResponse) error {
	if len(in.GetRoles()) > 0 {
		return errs.Forbiddenf("roles can't be set: they come from enrolls")
	}
	ch := service.Change{Name: in.Name, Thumbnail: in.ThumbnailFileId}
	if len(in.GetLabels()) > 0 {
		ch.Labels = in.GetLabels()
	}
	return h.svc.SaveSelf(ctx, h.caller(ctx), ch)
}

// CreateUser implements userpb.UserServiceHandler.
func (h *Handler) CreateUser(ctx context.Context, in *userpb.CreateUserRequest, out *userpb.CreateUserResponse) error {
	u := in.GetUser()
	a, err := h.svc.CreateUser(ctx, h.caller(ctx), service.NewAccount{
		AppHost: in.GetAppHost(), ID: u.GetId(), Slug: u.GetSlug(), Name: u.GetName(), Labels: u.GetLabels(), Thumb: u.GetThumbnailFileId(),
		Password: in.GetPassword(), Roles: in.GetRoleIds(),
		Contacts: each(in.GetContacts(), func(c *userpb.Contact) service.Contact {
			handle := c.GetHandle()
			if handle == "" {
				handle = c.GetId()
			}
			return service.Contact{Platform: c.GetPlatform(), Handle: handle, Verified: c.GetVerified()}
		}),
	})
	if err != nil {
		return err
	}
	out.User = user(a)
	return nil
}

// SaveUser implements userpb.UserServiceHandler.
func (h *Handler) SaveUser(ctx context.Context, in *userpb.SaveUserRequest, _ *userpb.SaveUserResponse) error {
	return h.svc.SaveUser(ctx, h.caller(ctx), in.GetUserId(), service.Change{Name: in.Name, Thumbnail: in.ThumbnailFileId})
}

// DeleteUser implements userpb.UserServiceHandler.
func (h *Handler) DeleteUser(ctx context.Context, in *userpb.DeleteUserRequest, _ *userpb.DeleteUserResponse) error {
	return h.svc.DeleteUser(ctx, h.caller(ctx), in.GetUserId())
}

// ListUsers implements userpb.UserServiceHandler.
func (h *Handler) ListUsers(ctx context.Context, in *userpb.ListUsersRequest, out *userpb.ListUsersResponse) error {
	after, err := service.ParseAfter(in.GetAfterTime())
	if err != nil {
		return err
	}
	page, err := h.svc.ListUsers(ctx, service.AccountQuery{
		IDs: in.GetIds(), ContactID: in.GetContactId(), Search: in.GetSearch(),
		ByUpdate: in.GetOrderBy() == "updatedAt", Ascending: in.GetOrder() == "asc", After: after, Limit: int(in.GetLimit()),
	}, in.GetCount())
	if err != nil {
		return err
	}
	out.After = optional(page.Next)
	out.Count = int32(min(page.Count, 1<<31-1)) //nolint:gosec // bounded
	out.Users = each(page.Accounts, func(a service.Account) *userpb.UserRecord {
		return &userpb.UserRecord{
			Id: a.ID, Slug: a.Slug, Name: a.Name, CreatedAt: timeText(a.CreatedAt), UpdatedAt: timeText(a.UpdatedAt),
			ContactIds: each(page.Contacts[a.ID], func(c service.Contact) string { return c.ID }),
			Roles:      page.Roles[a.ID],
		}
	})
	return nil
}

func user(a service.Account) *userpb.User {
	return &userpb.User{
		Id: a.ID, Slug: a.Slug, Name: a.Name, Labels: a.Labels, ThumbnailFileId: optional(a.Thumbnail),
		CreatedAt: timeText(a.CreatedAt), UpdatedAt: timeText(a.UpdatedAt), DeletedAt: optionalTime(a.DeletedAt),
	}
}

func contact(c service.Contact) *userpb.Contact {
	return &userpb.Contact{
		Id: c.ID, Handle: c.Handle, Platform: c.Platform, UserId: c.UserID, IsPrimary: c.Primary, Verified: c.Verified,
		CreatedAt: timeText(c.CreatedAt), UpdatedAt: timeText(c.UpdatedAt),
	}
}
