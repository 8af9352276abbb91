package channel

// VsockPort is the port on which the agent listens where the host reaches the guest by vsock, whose streams are clean as
// they are. It is below 1024, so that no other user of the guest can take it (vsock(7)).
const VsockPort = 1007
