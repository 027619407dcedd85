/*
 * http_socket.h
 *	  The sockets that libcurl uses: opened here, judged by their address, and
 *	  watched in one epoll set.
 *
 * An address is judged by the policy of the moment: when its socket is opened,
 * and again before every request, the first over a connection or not.
 */
#ifndef FLUXHOOKS_HTTP_SOCKET_H
#define FLUXHOOKS_HTTP_SOCKET_H

#include "address.h"
#include "http_transfer.h"

/* reserve and release as http_startup takes them.  False, and why, without an epoll set or a timer. */
extern bool http_sockets_startup(bool (*reserve) (void), void (*release) (void),
								 char *error, size_t error_size);
/* Nothing of libcurl may be left. */
extern void http_sockets_shutdown(void);

/* Take the list of addresses that may be called although they are not public. */
extern void http_sockets_allow(AddressList *allowed);

/* Tell libcurl of the sockets that are ready; true where there may be more. */
extern bool http_sockets_progress(void);

/* Becomes readable when a socket is ready. */
extern int	http_sockets_descriptor(void);

/* Was a connection wanted for which no descriptor was to be had, since this was last asked? */
extern bool http_sockets_were_short(void);

/* Callbacks of libcurl: CURLMOPT_SOCKETFUNCTION with an HttpMulti, the others with an HttpTransfer. */
extern int	http_on_socket(CURL *easy, curl_socket_t fd, int what, void *multi, void *unused);
extern curl_socket_t http_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *wanted);
extern int	http_close_socket(void *unused, curl_socket_t fd);
#if LIBCURL_VERSION_NUM >= 0x075000
extern int	http_before_request(void *arg, char *address, char *local, int port, int local_port);
#endif

#endif
