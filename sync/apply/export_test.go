package apply

// ExactOnly has everything applied one by one.
func (a *Applier) ExactOnly() { a.exactOnly = true }

// BetweenForTests is between.
var BetweenForTests = between
