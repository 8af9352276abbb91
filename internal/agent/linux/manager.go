package linux

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"banger/internal/agent"
)

// keepManagersOff tells the network managers that an image may bring that the interface is taken care of. What is written
// lies in /run, which every boot begins empty: nothing of it is in the image or stays on the VM's root.
func keepManagersOff(l agent.Link) {
	name, ok := findInterface(l.MAC)
	if !ok {
		return
	}
	mac := net.HardwareAddr(l.MAC).String()
	var failed error
	for path, text := range map[string]string{
		// systemd-networkd: the first file that matches counts, by its name, whichever directory it is in.
		"/run/systemd/network/00-banger.network": "[Match]\nMACAddress=" + mac + "\n\n[Link]\nUnmanaged=yes\n",
		"/run/NetworkManager/conf.d/banger.conf": "[keyfile]\nunmanaged-devices=mac:" + mac + "\n",
		// ifupdown: what is listed is configured already.
		"/run/network/ifstate":         "lo=lo\n" + name + "=" + name + "\n",
		"/run/network/ifstate." + name: name + "\n",
		"/run/network/ifstate.lo":      "lo\n",
	} {
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		fmt.Fprintln(os.Stderr, "banger-agent: a network manager of the image may take the interface over:", failed)
	}
}
