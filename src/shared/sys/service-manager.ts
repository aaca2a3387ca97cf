/** News for the service manager, sd_notify(3): sent from any thread, since all speak for the process. */
import { MSG_DONTWAIT, MSG_NOSIGNAL } from './constants.ts';
import { addressOf, CString, sendto } from './libc.ts';
import type { SocketAddress } from './unix-socket.ts';

/** Where news go. */
export interface ManagerSocket {
  readonly fd: number;
  readonly address: SocketAddress;
}

/** A manager that ends the process when it hears nothing; half of that time is the period. */
export interface ServiceWatchdog {
  readonly socket: ManagerSocket;
  readonly periodMs: number;
}

/** Sends without waiting. @returns `-errno` (EAGAIN: the manager's queue is full), or the bytes sent */
export function sendNews({ fd, address }: ManagerSocket, news: string): number {
  const text = new CString(news);
  const { memory, sizeBytes } = address;
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  return sendto(fd, text.address, text.bytes.length - 1, flags, addressOf(memory), sizeBytes);
}

/** Says that requests are served. One that is lost in a full queue is followed by the next in time. */
export function feedWatchdog(socket: ManagerSocket): number {
  return sendNews(socket, 'WATCHDOG=1');
}
