// Package doctor looks at a host and says what it finds: whether a VM can run on it, and what of banger's is left on it that
// no VM accounts for.
//
// It changes nothing, and takes no lock that a daemon could see. What the code that acts would refuse, it is asked for by
// the functions that refuse it, so that the two cannot disagree.
package doctor
