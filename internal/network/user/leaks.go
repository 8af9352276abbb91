package user

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"

	netdv1 "banger/api/netd/v1"
	"banger/internal/model"
	"banger/internal/procs"
)

// lookLimit is how long a netd may take to say what it has.
const lookLimit = 5 * time.Second

// Leaks tells of a netd that nobody needs or that cannot be reached, of what it still has of VMs that are no more, and of
// VMs that it does not know. One that runs while the daemon does is the daemon's to keep; without both it ends by itself,
// after five seconds. It starts none, and holds none.
func (d *Driver) Leaks(ctx context.Context, vms []model.VM) ([]model.Leak, error) {
	dirs := d.options.Dirs
	pid, err := procs.LockHolder(dirs.NetdLock())
	if err != nil {
		return nil, err
	}
	daemon, err := procs.LockHolder(dirs.Lock())
	if err != nil {
		return nil, err
	}
	needed := daemon != 0
	for _, v := range vms {
		needed = needed || (d.serves(v) || d.serveBeside(v)) && v.State.Lives()
	}
	var hidden, stale []model.Leak
	for _, socket := range []string{dirs.NetdSocket(), dirs.NetdTaps()} {
		_, err := os.Lstat(socket)
		if errors.Is(err, os.ErrNotExist) {
			hidden = append(hidden, model.Leak{Kind: "socket", What: socket, Why: fmt.Sprintf("banger-netd, process %d, runs, and its socket was removed; end that process: another one is started by need", pid)})
		} else {
			stale = append(stale, model.Leak{Kind: "socket", What: socket, Why: "nobody listens on it; the next banger-netd replaces it"})
		}
	}
	switch {
	case pid == 0:
		return append(d.unknown(vms, nil), stale...), nil
	case !needed:
		return []model.Leak{{Kind: "process", What: strconv.Itoa(pid), Why: "is a banger-netd that goes on though no VM and no daemon needs it; it has five seconds for its end"}}, nil
	case len(hidden) > 0:
		return hidden, nil
	}
	has, err := d.attachments(ctx)
	if err != nil {
		return []model.Leak{{Kind: "socket", What: dirs.NetdSocket(), Why: fmt.Sprintf("banger-netd, process %d, runs and does not answer on it: %v", pid, err)}}, nil
	}
	return append(d.unknown(vms, has), forgotten(vms, has)...), nil
}

// serves says whether a VM's network is this driver's.
func (d *Driver) serves(v model.VM) bool { return v.Network == d.Name() }

// serveBeside says whether netd does for a VM of another driver's what the kernel does not: each that reaches anything may ask
// for names.
func (d *Driver) serveBeside(v model.VM) bool {
	return !d.serves(v) && (len(v.Spec.Ports) > 0 || v.Spec.Network != model.PolicyNone)
}

// attachments asks the netd that runs what it has.
func (d *Driver) attachments(ctx context.Context) ([]*netdv1.Attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	n, err := dialNetd(ctx, d.options.Dirs.NetdSocket())
	if err != nil {
		return nil, err
	}
	defer n.close()
	answer, err := n.rpc.List(ctx, &netdv1.ListRequest{})
	if connect.CodeOf(err) == connect.CodeUnimplemented { // an older one, which the next daemon asks no more than this
		return nil, errors.New("it is of another version; the daemon replaces it after: banger daemon restart")
	}
	return answer.GetAttachments(), err
}

// unknown are the VMs that run and of which netd does not know, though it carries their packets, or answers their questions
// and publishes their ports.
func (d *Driver) unknown(vms []model.VM, has []*netdv1.Attachment) []model.Leak {
	known := map[string]bool{}
	for _, a := range has {
		known[a.GetVmId()] = true
	}
	var leaks []model.Leak
	for _, v := range vms {
		if v.State != model.StateRunning || known[string(v.ID)] {
			continue
		}
		var without string
		switch {
		case d.serves(v):
			without = "network"
		case d.serveBeside(v):
			without = "names and ports"
		default:
			continue
		}
		leaks = append(leaks, model.Leak{Kind: "row", What: string(v.ID), Why: "is of " + v.Name + ", which runs without its " + without + ": no banger-netd knows it; run: banger daemon restart"})
	}
	return leaks
}

// forgotten is what netd has of VMs that have nothing to have: their names and ports.
func forgotten(vms []model.VM, has []*netdv1.Attachment) []model.Leak {
	live := map[string]bool{}
	for _, v := range vms {
		live[string(v.ID)] = v.State.Lives()
	}
	var leaks []model.Leak
	for _, a := range has {
		if live[a.GetVmId()] {
			continue
		}
		leaks = append(leaks, model.Leak{Kind: "name", What: a.GetName(), Why: "is what banger-netd calls the VM " + a.GetVmId() + ", which does not run"})
		for _, f := range a.GetForwards() {
			leaks = append(leaks, model.Leak{Kind: "port", What: portText(f), Why: "is published by banger-netd for the VM " + a.GetVmId() + ", which does not run"})
		}
	}
	return leaks
}

func portText(f *netdv1.Forward) string {
	protocol := "tcp"
	if f.GetUdp() {
		protocol = "udp"
	}
	return fmt.Sprintf("%s:%d/%s", f.GetHostIp(), f.GetHostPort(), protocol)
}
