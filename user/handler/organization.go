package handler

import (
	"context"

	"micromesh/user/service"

	userpb "micromesh/user/proto"
)

// ReadApp implements userpb.UserServiceHandler.
func (h *Handler) ReadApp(ctx context.Context, in *userpb.ReadAppRequest, out *userpb.ReadAppResponse) error {
	a, err := h.svc.ReadApp(ctx, h.caller(ctx), in.GetHost())
	if err != nil {
		return err
	}
	out.App = app(a)
	return nil
}

// ListApps implements userpb.UserServiceHandler.
func (h *Handler) ListApps(ctx context.Context, in *userpb.ListAppsRequest, out *userpb.ListAppsResponse) error {
	all, err := h.svc.ListApps(ctx, h.caller(ctx), in.GetHost(), in.GetIds())
	if err != nil {
		return err
	}
	out.Apps = each(all, app)
	return nil
}

// UpdateApp implements userpb.UserServiceHandler.
func (h *Handler) UpdateApp(ctx context.Context, in *userpb.UpdateAppRequest, _ *userpb.UpdateAppResponse) error {
	return h.svc.UpdateApp(ctx, in.GetId(), in.GetNewHost())
}

// SaveOrganization implements userpb.UserServiceHandler.
func (h *Handler) SaveOrganization(ctx context.Context, in *userpb.SaveOrganizationRequest, out *userpb.SaveOrganizationResponse) error {
	o, t, err := h.svc.SaveOrganization(ctx, h.caller(ctx), service.NewOrganization{
		ID: in.GetId(), Slug: in.GetSlug(), Name: in.GetName(), Thumbnail: in.GetThumbnailFileId(), AssignCaller: in.GetAssignCaller(),
	})
	if err != nil {
		return err
	}
	out.Organization, out.Token = organization(o), token(t)
	return nil
}

// ListOrganizations implements userpb.UserServiceHandler.
func (h *Handler) ListOrganizations(ctx context.Context, in *userpb.ListOrganizationsRequest, out *userpb.ListOrganizationsResponse) error {
	after, err := service.ParseAfter(in.GetAfterTime())
	if err != nil {
		return err
	}
	all, err := h.svc.ListOrganizations(ctx, h.caller(ctx), in.GetIds(), after, int(in.GetLimit()))
	if err != nil {
		return err
	}
	out.Organizations = each(all, organization)
	return nil
}

// SaveMembership implements userpb.UserServiceHandler.
func (h *Handler) SaveMembership(ctx context.Context, in *userpb.SaveMembershipRequest, _ *userpb.SaveMembershipResponse) error {
	return h.svc.SaveMembership(ctx, h.caller(ctx), in.GetOrganizationId(), in.GetUserId())
}

// DeleteMembership implements userpb.UserServiceHandler.
func (h *Handler) DeleteMembership(ctx context.Context, in *userpb.DeleteMembershipRequest, _ *userpb.DeleteMembershipResponse) error {
	return h.svc.DeleteMembership(ctx, h.caller(ctx), in.GetOrganizationId(), in.GetUserId())
}

func app(a service.App) *userpb.App { return &userpb.App{Id: a.ID, Host: a.Host} }

func organization(o service.Organization) *userpb.Organization {
	return &userpb.Organization{
		Id: o.ID, AppId: o.AppID, Slug: o.Slug, Name: o.Name, ThumbnailFileId: optional(o.Thumbnail),
		CreatedAt: timeText(o.CreatedAt), UpdatedAt: timeText(o.UpdatedAt),
	}
}

// DeleteOrganization implements userpb.UserServiceHandler.
func (h *Handler) DeleteOrganization(ctx context.Context, in *userpb.DeleteOrganizationRequest, _ *userpb.DeleteOrganizationResponse) error {
	return h.svc.DeleteOrganization(ctx, h.caller(ctx), in.GetOrganizationId())
}

// DeleteApp implements userpb.UserServiceHandler.
func (h *Handler) DeleteApp(ctx context.Context, in *userpb.DeleteAppRequest, _ *userpb.DeleteAppResponse) error {
	return h.svc.DeleteApp(ctx, h.caller(ctx), in.GetId())
}
