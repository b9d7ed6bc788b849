package proxy

// Observer is told of clients that come. Its methods are called by many goroutines
// at a time and do not block.
type Observer interface {
	ClientLogin()                  // a client is logged in
	ClientRefused(sqlstate string) // a client was refused before that
}

// nobody observes nothing.
type nobody struct{}

// ClientLogin is Observer's.
func (nobody) ClientLogin() {}

// ClientRefused is Observer's.
func (nobody) ClientRefused(string) {}
