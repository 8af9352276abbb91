package hostnet

import (
	"context"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// kernel is how one verb talks to the kernel: of its links, and of its rules.
type kernel struct {
	links *netlink.Handle
	rules *rules
}

func (h *Host) kernel() (*kernel, error) {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	r, err := h.newRules()
	if err != nil {
		links.Close()
		return nil, err
	}
	return &kernel{links, r}, nil
}

func (k *kernel) close() {
	k.links.Close()
	k.rules.close()
}

// closeNow is for who may be asked often, and has nobody wait who waits for a VM: see closeLater.
func (k *kernel) closeNow() {
	k.links.Close()
	_ = k.rules.CloseLasting()
}

// alone does what needs the kernel while nothing else of the installation is changed, unless bad is in the way.
func (h *Host) alone(ctx context.Context, doing string, bad error, do func(*kernel) error) error {
	return h.locked(ctx, doing, bad, func() error {
		k, err := h.kernel()
		if err != nil {
			return err
		}
		defer k.close()
		return do(k)
	})
}

// withLinks likewise does what needs no rules.
func (h *Host) withLinks(ctx context.Context, doing string, bad error, do func(*netlink.Handle) error) error {
	return h.locked(ctx, doing, bad, func() error {
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer links.Close()
		return do(links)
	})
}

func (h *Host) locked(ctx context.Context, doing string, bad error, do func() error) error {
	err := bad
	if err == nil {
		err = h.lock(ctx)
	}
	if err == nil {
		defer h.unlock()
		err = do()
	}
	if err != nil {
		return model.HostErrorf(err, "%s", doing)
	}
	return nil
}

// closeLater closes a socket of netfilter's. The kernel frees what was removed of rules a moment later, and closing such a
// socket waits for that, while nobody can change any rules. So it is closed when that moment is over, which is when every
// processor has passed a point where nothing of it can be in use: this is what that barrier waits for.
func closeLater(end func()) {
	const global = 1 // MEMBARRIER_CMD_GLOBAL
	go func() {
		_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0) // a kernel that has none has us wait as said
		end()
	}()
}
