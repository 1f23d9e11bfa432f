"""Real parts to try Orbit on: hosts on a network of the lab, a DHCP server there, and agents on the hosts."""
