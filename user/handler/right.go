package handler

import (
	"context"

	"micromesh/user/service"

	userpb "micromesh/user/proto"
)

// SaveEnrolls implements userpb.UserServiceHandler.
func (h *Handler) SaveEnrolls(ctx context.Context, in *userpb.SaveEnrollsRequest, out *userpb.SaveEnrollsResponse) error {
	asked := each(in.GetEnrolls(), func(e *userpb.EnrollInput) service.NewEnroll {
		return service.NewEnroll{AppHost: e.GetAppHost(), ID: e.GetId(), Role: e.GetRole(), UserID: e.GetUserId(), ContactID: e.GetContactId()}
	})
	saved, err := h.svc.SaveEnrolls(ctx, h.caller(ctx), asked)
	if err != nil {
		return err
	}
	out.Enrolls = each(saved, enroll)
	return nil
}

// DeleteEnrolls implements userpb.UserServiceHandler.
func (h *Handler) DeleteEnrolls(ctx context.Context, in *userpb.DeleteEnrollsRequest, _ *userpb.DeleteEnrollsResponse) error {
	return h.svc.DeleteEnrolls(ctx, h.caller(ctx), in.GetIds())
}

// DeletePermits implements userpb.UserServiceHandler.
func (h *Handler) DeletePermits(ctx context.Context, in *userpb.DeletePermitsRequest, _ *userpb.DeletePermitsResponse) error {
	return h.svc.DeletePermits(ctx, h.caller(ctx), in.GetIds())
}

// ListEnrolls implements userpb.UserServiceHandler.
func (h *Handler) ListEnrolls(ctx context.Context, in *userpb.ListEnrollsRequest, out *userpb.ListEnrollsResponse) error {
	q := service.EnrollQuery{Role: in.GetRole(), ContactID: in.GetContactId()}
	if id := in.GetUserId(); id != "" {
		q.UserIDs = []string{id}
	}
	all, err := h.svc.ListEnrolls(ctx, h.caller(ctx), q)
	if err != nil {
		return err
	}
	out.Enrolls = each(all, enroll)
	return nil
}

// SavePermits implements userpb.UserServiceHandler.
func (h *Handler) SavePermits(ctx context.Context, in *userpb.SavePermitsRequest, _ *userpb.SavePermitsResponse) error {
	asked := each(in.GetPermits(), func(p *userpb.PermitInput) service.NewPermit {
		return service.NewPermit{AppHost: p.GetAppHost(), ID: p.GetId(), Permission: p.GetPermission(), Roles: p.GetRoles(), Slugs: p.GetSlugs()}
	})
	return h.svc.SavePermits(ctx, h.caller(ctx), asked)
}

// ListPermits implements userpb.UserServiceHandler.
func (h *Handler) ListPermits(ctx context.Context, in *userpb.ListPermitsRequest, out *userpb.ListPermitsResponse) error {
	all, err := h.svc.ListPermits(ctx, h.caller(ctx), in.GetPermission(), in.GetSlug())
	if err != nil {
		return err
	}
	out.Permits = each(all, permit)
	return nil
}

// ListPermissions implements userpb.UserServiceHandler.
func (h *Handler) ListPermissions(ctx context.Context, _ *userpb.ListPermissionsRequest, out *userpb.ListPermissionsResponse) (err error) {
	out.Permissions, err = h.svc.ListPermissions(ctx, h.caller(ctx))
	return err
}

// HasPermission implements userpb.UserServiceHandler.
func (h *Handler) HasPermission(ctx context.Context, in *userpb.HasPermissionRequest, out *userpb.HasPermissionResponse) error {
	v, err := h.svc.HasPermission(ctx, h.caller(ctx), in.GetPermission())
	if err != nil {
		return err
	}
	out.Authorized, out.Until, out.User, out.App, out.AppId = v.Authorized, timeText(v.Until), user(v.Account), app(v.App), v.App.ID
	return nil
}

func enroll(e service.Enroll) *userpb.Enroll {
	return &userpb.Enroll{
		Id: e.ID, AppId: e.AppID, Role: e.Role, UserId: optional(e.UserID), ContactId: optional(e.ContactID), CreatedBy: optional(e.CreatedBy),
		CreatedAt: timeText(e.CreatedAt), UpdatedAt: timeText(e.UpdatedAt),
	}
}

func permit(p service.Permit) *userpb.Permit {
	return &userpb.Permit{
		Id: p.ID, AppId: p.AppID, Permission: p.Permission, Roles: p.Roles, Slugs: p.Slugs,
		CreatedAt: timeText(p.CreatedAt), UpdatedAt: timeText(p.UpdatedAt),
	}
}
