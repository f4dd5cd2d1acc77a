package handler

import (
	"context"

	"micromesh/user/service"

	userpb "micromesh/user/proto"
)

// IssueToken implements userpb.UserServiceHandler.
func (h *Handler) IssueToken(ctx context.Context, in *userpb.IssueTokenRequest, out *userpb.IssueTokenResponse) error {
	jwt, expires, err := h.svc.IssueToken(ctx, h.caller(ctx), in.GetSlug())
	if err != nil {
		return err
	}
	out.Token, out.ExpiresAt = jwt, timeText(expires)
	return nil
}

// ListSessions implements userpb.UserServiceHandler.
func (h *Handler) ListSessions(ctx context.Context, in *userpb.ListSessionsRequest, out *userpb.ListSessionsResponse) error {
	c := h.caller(ctx)
	all, err := h.svc.Sessions(ctx, c, in.GetUserId())
	if err != nil {
		return err
	}
	out.Sessions = each(all, func(s service.Session) *userpb.Session {
		return &userpb.Session{
			Id: s.ID, UserId: s.UserID, AppId: s.AppID, Device: s.Device, ParentId: optional(s.ParentID), Current: s.ID == c.SessionID,
			CreatedAt: timeText(s.CreatedAt), ExpiresAt: timeText(s.ExpiresAt), LastRefreshedAt: optionalTime(s.RefreshedAt),
		}
	})
	return nil
}

// DeleteSession implements userpb.UserServiceHandler.
func (h *Handler) DeleteSession(ctx context.Context, in *userpb.DeleteSessionRequest, _ *userpb.DeleteSessionResponse) error {
	return h.svc.EndSession(ctx, h.caller(ctx), in.GetId())
}

// RotateKeys implements userpb.UserServiceHandler.
func (h *Handler) RotateKeys(ctx context.Context, in *userpb.RotateKeysRequest, out *userpb.RotateKeysResponse) error {
	k, err := h.svc.RotateKey(ctx, in.GetRevoke())
	if err != nil {
		return err
	}
	out.KeyId, out.ActiveFrom = k.ID, timeText(k.ActiveFrom)
	return nil
}
