package kv

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Plain fails where a stream does more than keep what is published under its subjects: where it takes in, or passes on, what
// it shouldn't. Such a stream was made by somebody who had the login of a service, to get at the subjects of others
// with it. Limits, replicas and where it is stored are the operator's business.
func Plain(cfg jetstream.StreamConfig, subjects ...string) error {
	var what string
	switch {
	case cfg.RePublish != nil:
		what = "republishes"
	case cfg.SubjectTransform != nil:
		what = "renames subjects"
	case cfg.Mirror != nil || len(cfg.Sources) > 0:
		what = "copies other streams"
	case !slices.Equal(cfg.Subjects, subjects):
		what = fmt.Sprintf("takes %q, not %s alone", cfg.Subjects, strings.Join(subjects, " and "))
	default:
		return nil
	}
	return fmt.Errorf("the stream %s %s: it was not made by the mesh; delete it by the operators' login, and it is made anew", cfg.Name, what)
}

// PlainBucket is Plain for a bucket's stream.
func PlainBucket(ctx context.Context, b jetstream.KeyValue) error {
	_, err := plainInfo(ctx, b)
	return err
}

// Created is PlainBucket, and returns when the bucket was made.
func Created(ctx context.Context, b jetstream.KeyValue) (time.Time, error) {
	info, err := plainInfo(ctx, b)
	if err != nil {
		return time.Time{}, err
	}
	return info.Created, nil
}

func plainInfo(ctx context.Context, b jetstream.KeyValue) (*jetstream.StreamInfo, error) {
	status, err := b.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	info := status.(*jetstream.KeyValueBucketStatus).StreamInfo()
	return info, Plain(info.Config, "$KV."+b.Bucket()+".>")
}
