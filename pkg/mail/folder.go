package mail

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Folder writes each mail into a file of its own, for development. The log names the file, and nothing of what it holds.
type Folder struct {
	dir  string
	from Sender
	log  *slog.Logger
}

// NewFolder makes a mailer that writes into dir, which it creates.
func NewFolder(dir string, from Sender, log *slog.Logger) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder for mails: %w", err)
	}
	return &Folder{dir: dir, from: from, log: log}, nil
}

// Send writes a mail.
func (f *Folder) Send(_ context.Context, m Message) error {
	now := time.Now()
	b, err := encode(f.from, m, now)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(f.dir, now.UTC().Format("20060102-150405.000000-")+"*.eml") // 0600
	if err != nil {
		return fmt.Errorf("write mail: %w", err)
	}
	_, err = file.Write(b)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write mail: %w", err)
	}
	f.log.Info("mail_written", "file", filepath.Base(file.Name()))
	return nil
}
