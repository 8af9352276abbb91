package doctor

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/osrelease"
	"banger/internal/procs"
)

// Host looks at the machine and its kernel. memory is what a new VM gets of it.
func Host(memory int64) []model.Check {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return []model.Check{model.CheckOf("host", model.HostErrorf(err, "cannot tell which kernel this is"), "")}
	}
	machine, release := unix.ByteSliceToString(name.Machine[:]), unix.ByteSliceToString(name.Release[:])
	distribution := osrelease.Read()["PRETTY_NAME"]
	if distribution == "" {
		distribution = "an unknown distribution"
	}
	var err error
	if machine != "x86_64" {
		err = model.Errorf(model.ErrUnsupported, "cannot run VMs on a %s machine: x86-64 is needed", machine)
	}
	if err == nil {
		err = procs.Supported()
	}
	cores := runtime.NumCPU()
	return []model.Check{
		model.CheckOf("host", err, fmt.Sprintf("%s, Linux %s, %s, %d %s", distribution, release, machine, cores, plural(cores, "core"))),
		checkMemory(memory),
	}
}

func checkMemory(wanted int64) model.Check {
	total, available, err := memory()
	if err != nil {
		return model.CheckOf("memory", err, "").AtMost(model.CheckWarning)
	}
	c := model.Check{Name: "memory", Status: model.CheckOK, Detail: fmt.Sprintf("%s, of which %s are available; a VM has %s unless told otherwise",
		model.FormatSize(total), model.FormatSize(available), model.FormatSize(wanted))}
	if available < wanted {
		c.Status = model.CheckWarning
	}
	return c
}

// memory reads proc_meminfo(5).
func memory() (total, available int64, err error) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "MemTotal:":
			total = n * model.KiB
		case "MemAvailable:":
			available = n * model.KiB
		}
	}
	if total == 0 || available == 0 {
		return 0, 0, fmt.Errorf("cannot tell how much memory this host has")
	}
	return total, available, lines.Err()
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// Privileges says whose rights VMs have.
func Privileges() model.Check {
	c := model.Check{Name: "privileges", Status: model.CheckOK, Detail: fmt.Sprintf("you are uid %d, an ordinary user: nothing needs more", os.Geteuid())}
	if os.Geteuid() == 0 {
		c.Status = model.CheckWarning
		c.Detail = "you are root, and so are your VMMs: what breaks out of a guest is root here; an ordinary user can do all that you can"
	}
	return c
}
