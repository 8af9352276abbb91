package client

import (
	"context"
	"io"
	"os"
	"path/filepath"

	bangerv1 "banger/api/banger/v1"
	"banger/internal/model"
	"banger/internal/rootedfs"
)

// CopyOut copies a file or a directory of a running VM's guest to a path of this host, by docker cp's rules. What comes
// is unpacked here, in this process: it is written nowhere but under the name that those rules give it.
func (c *Client) CopyOut(ctx context.Context, vm VM, from, to string, o CopyOptions) (CopySummary, error) {
	src, err := c.guestSource(ctx, vm, from, o)
	if err != nil {
		return CopySummary{}, err
	}
	dst, err := hostTarget(to)
	if err != nil {
		return CopySummary{}, err
	}
	dir, name, err := place(src, dst)
	if err != nil {
		return CopySummary{}, err
	}
	root, err := rootedfs.Open(dir)
	if err != nil {
		return CopySummary{}, err
	}
	defer root.Close()
	keep := o.Archive && os.Geteuid() == 0
	if o.Archive && !keep && o.Warn != nil {
		o.Warn("only root can keep owners: the copy is yours")
	}
	var sum CopySummary
	err = c.readFiles(ctx, src.request(vm, name), o.Warn, func(archive io.Reader) (err error) {
		sum, err = root.Extract(ctx, archive, rootedfs.ExtractOptions{
			Name: name, KeepOwner: keep, MaxBytes: o.MaxBytes, Warn: o.Warn, Progress: o.Progress,
		})
		return err
	})
	return sum, err
}

// CopyIn copies a file or a directory of this host to a path of a running VM's guest, by docker cp's rules. It returns
// once the copy is durable there.
func (c *Client) CopyIn(ctx context.Context, vm VM, from, to string, o CopyOptions) (CopySummary, error) {
	src, err := hostSource(from, o)
	if err != nil {
		return CopySummary{}, err
	}
	dst, err := c.guestTarget(ctx, vm, to)
	if err != nil {
		return CopySummary{}, err
	}
	dir, name, err := place(src, dst)
	if err != nil {
		return CopySummary{}, err
	}
	root, err := rootedfs.Open(filepath.Dir(src.real))
	if err != nil {
		return CopySummary{}, err
	}
	defer root.Close()
	open := &bangerv1.WriteFilesOpen{VmId: vm.ID, Dir: dir, Name: name, Archive: o.Archive}
	return c.writeFiles(ctx, open, o.Warn, func(archive io.Writer) error {
		_, err := root.Pack(ctx, baseOf(src.real), archive, rootedfs.PackOptions{Name: nameOr(name, "."), Warn: o.Warn, Progress: o.Progress})
		return err
	})
}

// CopyBetween copies a file or a directory of one running VM to another. Nothing of it is unpacked on this host.
func (c *Client) CopyBetween(ctx context.Context, vm VM, from string, other VM, to string, o CopyOptions) (CopySummary, error) {
	src, err := c.guestSource(ctx, vm, from, o)
	if err != nil {
		return CopySummary{}, err
	}
	dst, err := c.guestTarget(ctx, other, to)
	if err != nil {
		return CopySummary{}, err
	}
	dir, name, err := place(src, dst)
	if err != nil {
		return CopySummary{}, err
	}
	open := &bangerv1.WriteFilesOpen{VmId: other.ID, Dir: dir, Name: name, Archive: o.Archive}
	return c.writeFiles(ctx, open, o.Warn, func(w io.Writer) error {
		return c.readFiles(ctx, src.request(vm, name), o.Warn, func(r io.Reader) error {
			_, err := io.Copy(counted(w, o), r)
			return err
		})
	})
}

// ReadTar writes a tar archive of a file or a directory of a running VM's guest to w. It is the guest's word: whoever
// unpacks it must let no entry out of the directory it goes to.
func (c *Client) ReadTar(ctx context.Context, vm VM, from string, w io.Writer, o CopyOptions) error {
	src, err := c.guestSource(ctx, vm, from, o)
	if err != nil {
		return err
	}
	r := src.request(vm, src.base)
	r.Portable = true
	return c.readFiles(ctx, r, o.Warn, func(archive io.Reader) error {
		_, err := io.Copy(counted(w, o), archive)
		return err
	})
}

// WriteTar unpacks a tar archive in a directory of a running VM's guest. It returns once that is durable there. When ctx
// ends it does not wait for a Read of archive that goes on.
func (c *Client) WriteTar(ctx context.Context, vm VM, archive io.Reader, to string, o CopyOptions) (CopySummary, error) {
	dst, err := c.guestTarget(ctx, vm, to)
	if err != nil {
		return CopySummary{}, err
	}
	if !dst.exists || !dst.dir {
		return CopySummary{}, model.Errorf(model.ErrInvalid, "cannot unpack an archive in %s: it is no directory that is there", dst.label)
	}
	open := &bangerv1.WriteFilesOpen{VmId: vm.ID, Dir: dst.real, Archive: o.Archive}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return c.writeFiles(ctx, open, o.Warn, func(w io.Writer) error {
		_, err := io.Copy(counted(w, o), leavable(ctx, archive))
		return err
	})
}
