package model

import (
	"math/rand/v2"
	"regexp"
	"strings"
)

// MaxNameLength is the longest VM, image or kernel name: a DNS label's length, since a VM's name becomes its host name.
const MaxNameLength = 63

// VMDomain is what the names by which a host finds VMs end in. Nobody chooses another: who answers for a domain can be
// anybody in it.
const VMDomain = "vm"

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// ValidateName checks that name can be a VM's name and the guest's host name. what is the noun for the message. What has the
// shape of a VM's id is refused, so that a reference never means two VMs.
func ValidateName(what, name string) error {
	switch {
	case name == "":
		return Errorf(ErrInvalid, "%s needs a name: lower-case letters, digits and hyphens", Article(what))
	case len(name) > MaxNameLength:
		return Errorf(ErrInvalid, "%s name is %d characters long: at most %d are allowed", what, len(name), MaxNameLength)
	case !namePattern.MatchString(name):
		return Errorf(ErrInvalid, "%q cannot be the name of %s: use lower-case letters, digits and hyphens, with a letter or digit at both ends", name, Article(what))
	case VMID(name).Valid():
		return Errorf(ErrInvalid, "%q cannot be the name of %s: it has the form of a VM's id", name, Article(what))
	}
	return nil
}

// Article puts the indefinite article before a noun, for messages.
func Article(noun string) string {
	if strings.ContainsAny(noun[:1], "aeiou") {
		return "an " + noun
	}
	return "a " + noun
}

var (
	nameFirst = strings.Fields("amber brave calm clever cosy eager fair gentle happy jolly keen kind lively lucky merry mild neat nimble proud quick quiet sharp shiny smart sunny swift tidy warm wise witty")
	nameLast  = strings.Fields("badger beaver bison crane dingo falcon ferret finch fox gecko heron ibex jackal koala lemur lynx marmot marten mole newt otter owl panda puffin raven robin seal stoat swan tapir")
)

// RandomName returns a readable name for a VM that was given none. It can collide; the caller tries again.
func RandomName() string {
	return nameFirst[rand.IntN(len(nameFirst))] + "-" + nameLast[rand.IntN(len(nameLast))] + "-" + randomID(4)
}
