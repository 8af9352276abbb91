package qemu

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KVM's ioctls and structures, from the kernel's Documentation/virt/kvm/api.rst (x86).
const (
	kvmGetAPIVersion       = 0xae00
	kvmCreateVM            = 0xae01
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetTSSAddr          = 0xae47
	kvmRun                 = 0xae80
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84

	kvmAPIVersion = 12
	kvmExitHLT    = 5
)

type kvmMemoryRegion struct {
	slot, flags            uint32
	guestAddr, size, local uint64
}

type kvmRegs struct {
	_      [16]uint64 // rax … r15
	rip    uint64
	rflags uint64
}

// kvmSregs begins with the code segment; the rest is left as KVM made it.
type kvmSregs struct {
	csBase     uint64
	csLimit    uint32
	csSelector uint16
	_          [10]byte
	_          [312 - 24]byte
}

// probeLoop is real-mode code: a million rounds of decrement and jump, then halt. A processor does it in about a
// millisecond; a hypervisor that emulates each instruction takes a second or more.
var probeLoop = []byte{
	0x66, 0xb9, 0x40, 0x42, 0x0f, 0x00, // mov ecx, 1000000
	0x66, 0x49, // dec ecx
	0x75, 0xfc, // jnz to the decrement
	0xf4, // hlt
}

// Limits of the probe: what a usable KVM stays far below, and when to give up waiting.
const (
	kvmFast   = 100 * time.Millisecond
	kvmGiveUp = 300 * time.Millisecond
)

// probeKVM says in one line why KVM is not to be used here, or "" when it runs guests at a processor's speed. That
// /dev/kvm opens says nothing about that.
func probeKVM() string {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "this host has no /dev/kvm"
	case errors.Is(err, os.ErrPermission):
		return "you may not open /dev/kvm; with: sudo usermod -aG kvm $USER, and a new login, you may"
	case err != nil:
		return fmt.Sprintf("/dev/kvm cannot be opened: %v", err)
	}
	defer kvm.Close()
	took, err := timeGuest(int(kvm.Fd()))
	if err != nil {
		return fmt.Sprintf("/dev/kvm opens but runs no guest: %v", err)
	}
	if took > kvmFast {
		return fmt.Sprintf("KVM is no faster than software here: a loop of 1 ms took %d ms", took.Milliseconds())
	}
	return ""
}

// timeGuest runs probeLoop in a virtual machine of its own and returns how long that took.
func timeGuest(kvm int) (time.Duration, error) {
	if version, err := ioctl(kvm, kvmGetAPIVersion, 0); err != nil || version != kvmAPIVersion {
		return 0, fmt.Errorf("its API version is %d (%w)", version, err)
	}
	vm, err := ioctl(kvm, kvmCreateVM, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot make a virtual machine: %w", err)
	}
	defer unix.Close(vm)
	// Intel's processors without unrestricted guests need a place for their task state segment.
	if _, err := ioctl(vm, kvmSetTSSAddr, 0xfffbd000); err != nil {
		return 0, fmt.Errorf("cannot place the task state segment: %w", err)
	}
	memory, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(memory)
	copy(memory, probeLoop)
	region := kvmMemoryRegion{guestAddr: 0x1000, size: uint64(len(memory)), local: uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if _, err := ioctl(vm, kvmSetUserMemoryRegion, uintptr(unsafe.Pointer(&region))); err != nil {
		return 0, fmt.Errorf("cannot give it memory: %w", err)
	}
	vcpu, err := ioctl(vm, kvmCreateVCPU, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot make a virtual processor: %w", err)
	}
	defer unix.Close(vcpu)
	size, err := ioctl(kvm, kvmGetVCPUMmapSize, 0)
	if err != nil {
		return 0, err
	}
	shared, err := unix.Mmap(vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(shared)
	if err := pointAtLoop(vcpu); err != nil {
		return 0, err
	}
	return runToHalt(vcpu, shared)
}

func pointAtLoop(vcpu int) error {
	var sregs kvmSregs
	if _, err := ioctl(vcpu, kvmGetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return err
	}
	sregs.csBase, sregs.csSelector = 0, 0
	if _, err := ioctl(vcpu, kvmSetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return err
	}
	regs := kvmRegs{rip: 0x1000, rflags: 2}
	_, err := ioctl(vcpu, kvmSetRegs, uintptr(unsafe.Pointer(&regs)))
	return err
}

// runToHalt runs the processor until it halts. A signal to its thread takes it out when that lasts too long.
func runToHalt(vcpu int, shared []byte) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	ended := make(chan struct{})
	defer close(ended)
	start := time.Now()
	go func() {
		select {
		case <-ended:
		case <-time.After(kvmGiveUp):
			// SIGURG is what the runtime itself interrupts threads with; it does no harm.
			_ = unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
		}
	}()
	for {
		_, err := ioctl(vcpu, kvmRun, 0)
		took := time.Since(start)
		if errors.Is(err, unix.EINTR) {
			if took >= kvmGiveUp {
				return took, nil
			}
			continue
		}
		if err != nil {
			return took, err
		}
		// exit_reason lies after request_interrupt_window, immediate_exit and padding.
		if reason := *(*uint32)(unsafe.Pointer(&shared[8])); reason != kvmExitHLT {
			return took, fmt.Errorf("a trial guest ended for reason %d", reason)
		}
		return took, nil
	}
}

func ioctl(fd int, request, arg uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
	if errno != 0 {
		return int(r), errno
	}
	return int(r), nil
}
