/*
 * refuse-socket - a TCP socket that listens, one that is connected to it, and a pair
 * of Unix sockets with something in it. socket(2), socketpair(2)
 */
#include "refuse.h"
#include <arpa/inet.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int pair[2];
	char text[16];

	check_init(argc, argv);
	int listener = refuse_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	refuse_fd(bind(listener, (struct sockaddr *)&address, sizeof address), "bind to 127.0.0.1");
	must(listen(listener, 5));
	must(getsockname(listener, (struct sockaddr *)&address, &length));
	int client = (int)must(socket(AF_INET, SOCK_STREAM, 0));
	refuse_fd(connect(client, (struct sockaddr *)&address, sizeof address), "connect to 127.0.0.1");
	int server = (int)must(accept(listener, NULL, NULL));
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	must(write(pair[0], "unix", 4));
	must(write(client, "inet", 4));
	check_ready();
	check_wait();
	check(read(pair[1], text, sizeof text) == 4 && !memcmp(text, "unix", 4), "the Unix pair holds what was written");
	check(read(server, text, sizeof text) == 4 && !memcmp(text, "inet", 4), "the connection holds what was written");
	check(write(server, "back", 4) == 4 && read(client, text, sizeof text) == 4, "and goes on both ways");
	int another = socket(AF_INET, SOCK_STREAM, 0);
	check(connect(another, (struct sockaddr *)&address, sizeof address) == 0 && accept(listener, NULL, NULL) >= 0, "the listener takes another one");
	return check_done();
}
