// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stream of numbered datagrams that knows what it lost, light enough for an
 * emulated processor.
 *
 *   flood receive PORT FILE          until SIGTERM, then one line per datagram:
 *                                    number, second of arrival
 *   flood send ADDRESS PORT RATE FILE  until SIGTERM, then: number, second of sending
 *
 * Seconds are of CLOCK_MONOTONIC, which all namespaces share.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 1000000

struct record {
	uint32_t number;
	double at;
};

static struct record records[MOST];
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	stopped = 1;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void take_in(int fd, size_t *count, int flags)
{
	uint32_t number;

	while (*count < MOST && recv(fd, &number, sizeof(number), flags) >= (ssize_t)sizeof(number)) {
		records[*count].number = ntohl(number);
		records[(*count)++].at = now();
		if (stopped)
			flags = MSG_DONTWAIT;
	}
}

static size_t receive(int port)
{
	struct sockaddr_in6 here = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_DGRAM, 0), off = 0, room = 8 << 20;
	size_t count = 0;

	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (bind(fd, (struct sockaddr *)&here, sizeof(here)))
		exit(1);
	while (!stopped)
		take_in(fd, &count, 0);
	take_in(fd, &count, MSG_DONTWAIT);
	return count;
}

static size_t send_on(const char *address, int port, double rate)
{
	struct sockaddr_in6 there6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in there4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int six = inet_pton(AF_INET6, address, &there6.sin6_addr) == 1;
	struct sockaddr *there = six ? (struct sockaddr *)&there6 : (struct sockaddr *)&there4;
	socklen_t length = six ? sizeof(there6) : sizeof(there4);
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
	double start = now();
	char data[64] = { 0 };
	size_t count = 0;

	if (!six && inet_pton(AF_INET, address, &there4.sin_addr) != 1)
		exit(1);
	while (!stopped && count < MOST) {
		double wait = start + count / rate - now();
		uint32_t number = htonl(count);

		if (wait > 0) {
			struct timespec rest = { .tv_nsec = wait < 0.9 ? wait * 1e9 : 9e8 };

			nanosleep(&rest, NULL);
			continue;
		}
		memcpy(data, &number, sizeof(number));
		/* A route that is missing for a moment loses the packet like any other fault. */
		sendto(fd, data, sizeof(data), 0, there, length);
		records[count].number = count;
		records[count++].at = now();
	}
	return count;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop };
	size_t count, i;
	FILE *out;

	if (argc < 4)
		return 2;
	out = fopen(argv[argc - 1], "w");
	if (!out)
		return 2;
	sigaction(SIGTERM, &action, NULL);
	if (!strcmp(argv[1], "receive"))
		count = receive(atoi(argv[2]));
	else
		count = send_on(argv[2], atoi(argv[3]), atof(argv[4]));
	for (i = 0; i < count; i++)
		fprintf(out, "%u %.6f\n", records[i].number, records[i].at);
	return fclose(out) ? 1 : 0;
}
