package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/image/claim"
	"banger/internal/image/cpio"
	"banger/internal/model"
)

// Initrd returns the path of the initramfs that boots k: k's early modules followed by the agent as /init. It is kept in
// the cache under the digest of both and made when it is missing.
//
// It stays uncompressed, since unpacking costs a guest more than the page cache it saves, and so every part of it counts:
// the agent is nearly all of it, the early modules are under one megabyte.
func (s *Service) Initrd(ctx context.Context, k model.Kernel) (string, error) {
	m, err := s.readBlob(kindKernel, k.Digest)
	if err != nil {
		return "", s.advise(ctx, kindKernel, k.Digest, err)
	}
	agent, size, err := s.agentFile(ctx)
	if err != nil {
		return "", err
	}
	early := m.Files[earlyFile]
	key := sha256.Sum256([]byte(string(early.Digest) + " " + string(agent)))
	path := filepath.Join(s.initrdDir(), fmt.Sprintf("%x"+initrdSuffix, key))
	there := func() bool {
		info, err := os.Lstat(path)
		return err == nil && info.Mode().IsRegular() && info.Size() == early.Bytes+cpio.ArchiveSize(agentEntry(size))
	}
	if there() {
		return path, nil
	}
	if err := os.MkdirAll(s.initrdDir(), 0o700); err != nil {
		return "", err
	}
	// Under a claim, what a killed daemon left of one can be told from what another over the same cache is making.
	out, err := claim.Take(ctx, path+partSuffix)
	if err != nil {
		return "", err
	}
	defer out.Drop() //nolint:errcheck // what it could not remove is swept
	if there() {
		return path, nil // somebody was faster
	}
	if err := s.writeInitrd(ctx, out, path, filepath.Join(s.blobDir(kindKernel, k.Digest), earlyFile), size); err != nil {
		return "", fmt.Errorf("cannot make the initramfs of kernel %s: %w", k.Name, err)
	}
	return path, nil
}

const (
	initrdSuffix = ".cpio"
	partSuffix   = ".part" // follows it while it is made
)

func (s *Service) initrdDir() string { return filepath.Join(s.dirs.Cache, "initrd") }

func (s *Service) writeInitrd(ctx context.Context, out *claim.Claim, path, early string, agentSize int64) error {
	if err := errors.Join(copyFile(out, early), s.appendAgent(out, agentSize), ctx.Err()); err != nil {
		return err
	}
	crash.At("image.initrd.before-rename")
	if err := out.Become(path); err != nil {
		return err
	}
	crash.At("image.initrd.after-rename")
	return atomicfile.SyncDir(s.initrdDir())
}

func copyFile(out io.Writer, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}

// appendAgent adds an archive with the agent alone: the kernel unpacks one archive after the other.
func (s *Service) appendAgent(out io.Writer, size int64) error {
	w := cpio.NewWriter(out)
	if err := w.Add(agentEntry(size)); err != nil {
		return err
	}
	if err := copyFile(w, s.agent); err != nil {
		return err
	}
	return w.Close()
}

func agentEntry(size int64) cpio.Entry {
	return cpio.Entry{Name: "init", Mode: cpio.TypeRegular | 0o755, Size: size}
}

// fileIdentity tells one state of a file from another without reading it.
type fileIdentity struct {
	dev, ino uint64
	size     int64
	mtime    time.Time
	ctime    syscall.Timespec
}

// agentFile returns the digest and the size of the agent's binary. It is read once, and again when it has been replaced.
func (s *Service) agentFile(ctx context.Context) (model.Digest, int64, error) {
	file, err := os.Open(s.agent)
	if err != nil {
		return "", 0, model.Errorf(model.ErrUnavailable, "cannot read the agent's program: %w; install banger again", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", 0, err
	}
	id := fileIdentity{size: info.Size(), mtime: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino, id.ctime = st.Dev, st.Ino, st.Ctim
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == s.agentKnown {
		return s.agentDigest, id.size, nil
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, id.size+1))
	if err == nil && n != id.size {
		err = fmt.Errorf("it changed while it was read")
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return "", 0, model.Errorf(model.ErrUnavailable, "cannot read the agent's program: %w", err)
	}
	s.agentKnown, s.agentDigest = id, model.Digest(fmt.Sprintf("sha256:%x", sum.Sum(nil)))
	return s.agentDigest, id.size, nil
}
