package model

// Process names one process of this host beyond doubt: a pid alone is used again, a pid with its start time in one boot
// is not.
type Process struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // field 22 of /proc/PID/stat, clock ticks since boot (proc(5))
	BootID    string `json:"boot_id"`    // the host's /proc/sys/kernel/random/boot_id
}

// DiskHandles are the host devices of a root disk; a driver that needs none leaves them empty.
type DiskHandles struct {
	BaseLoop string `json:"base_loop,omitempty"`
	COWLoop  string `json:"cow_loop,omitempty"`
	DMName   string `json:"dm_name,omitempty"`
	DMDev    string `json:"dm_dev,omitempty"`
}

// NetHandles are the host devices of a network link.
type NetHandles struct {
	Tap string `json:"tap,omitempty"`
	// Ports are those in force, as -p writes them, separated by spaces; an automatic one ends with an asterisk. Knowing them
	// keeps their connections when the daemon starts again.
	Ports string `json:"ports,omitempty"`
}

// JailHandles are what a VMM in a jail has on the host; one that is in none leaves them empty.
type JailHandles struct {
	Dir    string `json:"dir,omitempty"` // with its sockets
	Cgroup string `json:"cgroup,omitempty"`
	UID    int    `json:"uid,omitempty"` // its group's, too
}

// Handles are what is true of a VM now. They live in the VM service's cache and in handles.json (file before cache), can
// be lost at any moment, and are then rebuilt by asking the host. Nothing in them is ever in the database.
type Handles struct {
	Boot string      `json:"boot,omitempty"` // the guest's boot id, once the agent has told it
	VMM  Process     `json:"vmm"`
	Disk DiskHandles `json:"disk"`
	Net  NetHandles  `json:"net"`
	Jail JailHandles `json:"jail,omitzero"`
}

// ExitReason is why a VMM is gone.
type ExitReason int

// The reasons. Unknown is what an adopted VMM that left no message gets.
const (
	ExitUnknown  ExitReason = iota
	ExitPowerOff            // the guest powered off
	ExitReset               // the guest rebooted, which ends a VM for now
	ExitPanic               // the guest kernel panicked
	ExitCrash               // the VMM itself failed
	ExitKilled              // a signal
)

// Exit is how a VMM ended.
type Exit struct {
	Reason ExitReason
	Detail string // the VMM's last words, capped, or ""
}

func (e Exit) String() string {
	text := [...]string{
		"the VMM ended", "the guest powered off", "the guest rebooted", "the guest kernel panicked", "the VMM failed",
		"the VMM was killed",
	}[e.Reason]
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}
