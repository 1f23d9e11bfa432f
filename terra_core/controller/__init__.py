"""The controller: the daemon that gives machines their disks and boots them."""
