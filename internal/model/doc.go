// Package model holds the nouns of banger: virtual machines, images, kernels, their states and the kinds of error.
//
// It is a leaf: it imports nothing of banger, opens no file and asks no one. What a VM is (VM, Spec) is durable and
// lives in the database; what is true of it now (Handles) is rebuilt from the host and lives in a cache and a file.
package model
