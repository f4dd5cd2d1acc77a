package handler

import (
	"context"

	"micromesh/pkg/auth"
	"micromesh/user/service"

	userpb "micromesh/user/proto"
)

// Login implements userpb.UserServiceHandler.
func (h *Handler) Login(ctx context.Context, in *userpb.LoginRequest, out *userpb.LoginResponse) error {
	t, err := h.svc.Login(ctx, ipOf(ctx), service.Credentials{
		AppHost: in.GetAppHost(), Slug: in.GetSlug(), Password: in.GetPassword(), Device: in.GetDevice(), Contact: contactProof(in.GetContact()),
	})
	if err != nil {
		return err
	}
	out.Token = token(t)
	return nil
}

// RefreshToken implements userpb.UserServiceHandler. The call carries the token itself, or the refresh token in its place or in the body.
func (h *Handler) RefreshToken(ctx context.Context, in *userpb.RefreshTokenRequest, out *userpb.RefreshTokenResponse) error {
	var t service.Token
	var err error
	if secret := in.GetRefreshToken(); secret != "" {
		t, err = h.svc.RefreshBySecret(ctx, secret)
	} else {
		t, err = h.refresh(ctx, auth.TokenFromContext(ctx))
	}
	if err != nil {
		return err
	}
	out.Token = token(t)
	return nil
}

func (h *Handler) refresh(ctx context.Context, bearer string) (service.Token, error) {
	if service.IsRefreshToken(bearer) {
		return h.svc.RefreshBySecret(ctx, bearer)
	}
	claims, err := h.verifier.VerifySigned(bearer)
	if err != nil {
		return service.Token{}, err
	}
	return h.svc.RefreshToken(ctx, callerOf(claims))
}

// ExchangeToken implements userpb.UserServiceHandler.
func (h *Handler) ExchangeToken(ctx context.Context, in *userpb.ExchangeTokenRequest, out *userpb.ExchangeTokenResponse) error {
	t, err := h.svc.ExchangeToken(ctx, h.caller(ctx), service.Exchange{AppHost: in.GetNewAppHost(), AppID: in.GetNewAppId(), Device: in.GetNewDevice()})
	if err != nil {
		return err
	}
	out.Token = token(t)
	return nil
}

// RevokeTokens implements userpb.UserServiceHandler.
func (h *Handler) RevokeTokens(ctx context.Context, in *userpb.RevokeTokensRequest, _ *userpb.RevokeTokensResponse) error {
	return h.svc.RevokeTokens(ctx, h.caller(ctx), service.Revocation{All: in.GetAllTokens(), Device: in.GetDevice(), UserID: in.GetUserId()})
}

// ChangePassword implements userpb.UserServiceHandler.
func (h *Handler) ChangePassword(ctx context.Context, in *userpb.ChangePasswordRequest, _ *userpb.ChangePasswordResponse) error {
	return h.svc.ChangePassword(ctx, h.caller(ctx), in.GetCurrentPassword(), in.GetNewPassword())
}

// ResetPassword implements userpb.UserServiceHandler.
func (h *Handler) ResetPassword(ctx context.Context, in *userpb.ResetPasswordRequest, _ *userpb.ResetPasswordResponse) error {
	return h.svc.ResetPassword(ctx, h.caller(ctx), in.GetUserId(), in.GetNewPassword())
}

// GetPublicKey implements userpb.UserServiceHandler.
func (h *Handler) GetPublicKey(ctx context.Context, _ *userpb.GetPublicKeyRequest, out *userpb.GetPublicKeyResponse) (err error) {
	out.PublicKey, err = h.svc.PublicKey(ctx)
	return err
}

// SendOtp implements userpb.UserServiceHandler.
func (h *Handler) SendOtp(ctx context.Context, in *userpb.SendOtpRequest, out *userpb.SendOtpResponse) error {
	handle := in.GetContactHandle()
	if handle == "" {
		handle = in.GetContactId()
	}
	sent, err := h.svc.SendCode(ctx, h.caller(ctx), in.GetAppHost(), in.GetContactPlatform(), handle)
	if err != nil {
		return err
	}
	out.OtpId = sent.ID
	if sent.Code != "" {
		out.Code, out.Subject, out.Body, out.ContentType = optional(sent.Code), optional(sent.Mail.Subject), optional(sent.Mail.Text), optional("text/plain")
		out.FromName, out.FromEmail = optional(sent.Name), optional(sent.From)
	}
	return nil
}

func token(t service.Token) *userpb.Token {
	updated := t.IssuedAt
	return &userpb.Token{
		Id: t.ID, UserId: t.UserID, AppId: t.AppID, App: app(t.App), Device: t.Device, Active: true, Token: t.JWT, RefreshToken: optional(t.Refresh),
		CreatedAt: timeText(t.CreatedAt), UpdatedAt: timeText(updated), ExpiresAt: timeText(t.ExpiresAt), LastRefreshedAt: optionalTime(t.RefreshedAt),
	}
}
