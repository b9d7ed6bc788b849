// Package systemd speaks with the service manager that has started the process: it
// tells how the process is (sd_notify(3)) and takes the socket that the process was
// started with (sd_listen_fds(3)). Both are environment variables; without them
// nothing happens. The units beside it are examples.
package systemd
