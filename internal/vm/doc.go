// Package vm is the VM service: the whole life of virtual machines, written once for every driver.
package vm
