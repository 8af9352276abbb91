package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// bridgeLimit is how long the kernel may have a VM wait for its network, and for the end of it.
const bridgeLimit = 5 * time.Millisecond

// bridgeTimes are those of one VM that comes and goes while another stays.
type bridgeTimes struct {
	AttachFloor, Attach, DetachFloor, Detach time.Duration

	WireFloor, Wire time.Duration // of one in a jail

	Prepare, Recycle time.Duration // in the background
}

// benchBridge measures the verbs of networks in a network namespace of their own.
func benchBridge(ctx context.Context, s *session) ([]result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, self, bridgeArgument, strconv.Itoa(s.pairs))
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w; it needs to make network namespaces and taps", err)
	}
	var all []bridgeTimes
	if err := json.Unmarshal(out.Bytes(), &all); err != nil {
		return nil, err
	}
	const floor = ", and one change of rules, by netlink"
	limit := milliseconds(bridgeLimit)
	attach := paired("a VM's port on the bridge, from the pool", "a tap that is there made up"+floor, limit,
		each(all, func(b bridgeTimes) pair { return pair{b.AttachFloor, b.Attach, bridgeLimit} }))
	attach.notes = []string{"The taps that are ready are made again afterwards, in " + milliseconds(median(each(all, func(b bridgeTimes) time.Duration { return b.Prepare }))) + "."}
	detach := paired("the end of a VM's port on the bridge", "a tap made down"+floor, limit,
		each(all, func(b bridgeTimes) pair { return pair{b.DetachFloor, b.Detach, bridgeLimit} }))
	detach.notes = []string{"Its tap is removed afterwards, in " + milliseconds(median(each(all, func(b bridgeTimes) time.Duration { return b.Recycle }))) + "."}
	wire := paired("a port on the bridge of a VM in a jail", "a veth pair made and made up"+floor, limit,
		each(all, func(b bridgeTimes) pair { return pair{b.WireFloor, b.Wire, bridgeLimit} }))
	return []result{attach, detach, wire}, nil
}
