// Package vmmtest holds drivers of virtual machine monitors to their contract.
//
// Run is the conformance suite, which every driver passes. Fake is a driver whose VMM is a process that runs no virtual
// machine, for tests of what lies above drivers; System is the guest in it.
package vmmtest
