// Package procs names host processes beyond doubt, so that what is watched or killed is never a stranger.
//
// A pid alone is used again by the kernel; with its start time in one boot it is not (model.Process). A Handle is a pidfd
// that was checked against such an identity after it was opened: from then on no reuse of the pid can matter.
package procs
