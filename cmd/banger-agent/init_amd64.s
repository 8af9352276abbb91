#include "textflag.h"

// Process 1 of a guest. It needs no Go runtime, and each machine would start later if it had one before the agent's. So
// this is where the program is entered (the linker's -E). Process 1 splits off the agent, which goes on to Go and does all
// else, and itself does what only process 1 can: reap orphans, or become the image's init program.
//
// Both share their root and working directory (CLONE_FS), so that the agent moves process 1 into the new root with itself.
// A program that is not process 1, or not called /init, goes on to Go at once.

#define SYS_read       0
#define SYS_write      1
#define SYS_close      3
#define SYS_dup3       292
#define SYS_pause      34
#define SYS_getpid     39
#define SYS_socketpair 53
#define SYS_clone      56
#define SYS_execve     59
#define SYS_wait4      61
#define SYS_setsid     112
#define SYS_prctl      157
#define SYS_sync       162
#define SYS_reboot     169
#define SYS_unshare    272

#define AF_UNIX        1
#define SOCK_SEQPACKET 5
#define O_CLOEXEC      0x80000
#define CLONE_FS       0x200
#define SIGCHLD        17
#define ECHILD         10
#define EINTR          4

#define PR_SET_TIMERSLACK 29

// The two ends of the socket pair; the agent's is ordersFD of package linux.
#define OURS           100
#define AGENTS         101

// The longest order: a path of PATH_MAX bytes.
#define MAX_ORDER      4096

// How late the kernel may wake the agent's threads, in nanoseconds, for the same reason as the daemon's (daemonSlack of package
// client); in a machine each time also costs exits to its host. Commands get the usual slack back; see package linux.
#define SLACK          1000000

TEXT _banger_init(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ 8(SP), AX               // argv[0]
	CMPL 0(AX), $0x696e692f      // "/ini"
	JNE  program
	CMPW 4(AX), $0x0074          // "t", and its end
	JNE  program
	MOVL $SYS_getpid, AX
	SYSCALL
	CMPL AX, $1
	JNE  program

	MOVL $AF_UNIX, DI
	MOVL $SOCK_SEQPACKET, SI
	XORL DX, DX
	LEAQ -8(SP), R10             // two ints
	MOVL $SYS_socketpair, AX
	SYSCALL
	TESTQ AX, AX
	JNE  program                 // which says that it is process 1, and ends the machine
	MOVL -8(SP), R12
	MOVL -4(SP), R13

	// At numbers of our own, since without a console 0 to 2 are free.
	MOVL R12, DI
	MOVL $OURS, SI
	MOVL $O_CLOEXEC, DX
	MOVL $SYS_dup3, AX
	SYSCALL
	MOVL R13, DI
	MOVL $AGENTS, SI
	MOVL $O_CLOEXEC, DX
	MOVL $SYS_dup3, AX
	SYSCALL
	MOVL R12, DI
	MOVL $SYS_close, AX
	SYSCALL
	MOVL R13, DI
	MOVL $SYS_close, AX
	SYSCALL

	MOVL $(CLONE_FS|SIGCHLD), DI
	XORL SI, SI                  // a copy of this stack
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $SYS_clone, AX
	SYSCALL
	TESTQ AX, AX
	JLT  program
	JEQ  agent

	MOVL $AGENTS, DI
	MOVL $SYS_close, AX
	SYSCALL
	SUBQ $(MAX_ORDER+64), SP
	MOVQ SP, BX                  // the order

order:
	MOVL $OURS, DI
	MOVQ BX, SI
	MOVL $MAX_ORDER, DX
	MOVL $SYS_read, AX
	SYSCALL
	CMPQ AX, $-EINTR
	JEQ  order
	CMPQ AX, $0
	JLE  reap                    // the agent has ended
	CMPB 0(BX), $0x2f            // a path begins with a slash, and ends with a zero
	JNE  reap

	MOVQ AX, R12                 // its length

	MOVL $CLONE_FS, DI           // the init program's directory and umask are its own
	MOVL $SYS_unshare, AX
	SYSCALL
	MOVQ BX, MAX_ORDER+0(BX)     // argv
	MOVQ $0, MAX_ORDER+8(BX)
	LEAQ home<>(SB), AX
	MOVQ AX, MAX_ORDER+16(BX)    // environment
	LEAQ term<>(SB), AX
	MOVQ AX, MAX_ORDER+24(BX)
	MOVQ $0, MAX_ORDER+32(BX)
	MOVQ BX, DI
	LEAQ MAX_ORDER+0(BX), SI
	LEAQ MAX_ORDER+16(BX), DX
	MOVL $SYS_execve, AX
	SYSCALL
	MOVL $2, DI
	LEAQ noinit<>(SB), SI
	MOVL $49, DX
	MOVL $SYS_write, AX
	SYSCALL
	MOVB $0x0a, -1(BX)(R12*1)    // the path's end
	MOVL $2, DI
	MOVQ BX, SI
	MOVQ R12, DX
	MOVL $SYS_write, AX
	SYSCALL

reap:
	MOVQ $-1, DI
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	MOVL $SYS_wait4, AX
	SYSCALL
	CMPQ AX, $-ECHILD
	JNE  reap

	// Without an agent nobody can reach the guest any more.
	MOVL $2, DI
	LEAQ ended<>(SB), SI
	MOVL $30, DX
	MOVL $SYS_write, AX
	SYSCALL
	MOVL $SYS_sync, AX
	SYSCALL
	MOVL $0xfee1dead, DI
	MOVL $0x28121969, SI
	MOVL $0x01234567, DX         // LINUX_REBOOT_CMD_RESTART: every machine has that
	XORL R10, R10
	MOVL $SYS_reboot, AX
	SYSCALL
halt:
	MOVL $SYS_pause, AX
	SYSCALL
	JMP  halt

agent:
	MOVL $SYS_setsid, AX
	SYSCALL
	MOVL $OURS, DI
	MOVL $SYS_close, AX
	SYSCALL
	MOVL $PR_SET_TIMERSLACK, DI
	MOVL $SLACK, SI
	MOVL $SYS_prctl, AX
	SYSCALL
	MOVQ 8(SP), AX
	MOVB $0x40, 0(AX)            // "@init": see package linux
program:
	JMP  _rt0_amd64_linux(SB)

DATA home<>+0(SB)/8, $"HOME=/\x00\x00"
GLOBL home<>(SB), RODATA|NOPTR, $8
DATA term<>+0(SB)/8, $"TERM=lin"
DATA term<>+8(SB)/8, $"ux\x00\x00\x00\x00\x00\x00"
GLOBL term<>(SB), RODATA|NOPTR, $16
DATA noinit<>+0(SB)/8, $"banger-a"
DATA noinit<>+8(SB)/8, $"gent: ca"
DATA noinit<>+16(SB)/8, $"nnot bec"
DATA noinit<>+24(SB)/8, $"ome, and"
DATA noinit<>+32(SB)/8, $" goes on"
DATA noinit<>+40(SB)/8, $" without"
DATA noinit<>+48(SB)/8, $" \x00\x00\x00\x00\x00\x00\x00"
GLOBL noinit<>(SB), RODATA|NOPTR, $56
DATA ended<>+0(SB)/8, $"banger-a"
DATA ended<>+8(SB)/8, $"gent: th"
DATA ended<>+16(SB)/8, $"e agent "
DATA ended<>+24(SB)/8, $"ended\n\x00\x00"
GLOBL ended<>(SB), RODATA|NOPTR, $32
