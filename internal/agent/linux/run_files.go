package linux

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"banger/internal/agent"
)

// keepManagersOff tells the network managers that an image may bring that the interface is taken care of.
func keepManagersOff(l agent.Link) {
	name, ok := findInterface(l.MAC)
	if !ok {
		return
	}
	mac := net.HardwareAddr(l.MAC).String()
	err := writeRun(map[string]string{
		// systemd-networkd: the first file that matches counts, by its name, whichever directory it is in.
		"/run/systemd/network/00-banger.network": "[Match]\nMACAddress=" + mac + "\n\n[Link]\nUnmanaged=yes\n",
		"/run/NetworkManager/conf.d/banger.conf": "[keyfile]\nunmanaged-devices=mac:" + mac + "\n",
		// ifupdown: what is listed is configured already.
		"/run/network/ifstate":         "lo=lo\n" + name + "=" + name + "\n",
		"/run/network/ifstate." + name: name + "\n",
		"/run/network/ifstate.lo":      "lo\n",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent: a network manager of the image may take the interface over:", err)
	}
}

// keepTemporaries has systemd leave what lies in /tmp at boot: commands run before its services do, and Debian's
// configuration, whose place this file takes (tmpfiles.d(5)), would remove their files under their hands.
func keepTemporaries() {
	if err := writeRun(map[string]string{"/run/tmpfiles.d/tmp.conf": "q /tmp 1777 root root 10d\nq /var/tmp 1777 root root 30d\n"}); err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent: /tmp may be emptied while the image's services start:", err)
	}
}

// writeRun writes files in /run, which every boot begins empty: nothing of it is in the image or stays on the VM's root.
func writeRun(files map[string]string) (failed error) {
	for path, text := range files {
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
