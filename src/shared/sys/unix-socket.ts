/** Addresses of Unix sockets, and descriptors sent through them (unix(7), SCM_RIGHTS). */
import { AF_UNIX, SCM_RIGHTS, SOCKADDR_UN, SOL_SOCKET } from './constants.ts';
import { addressOf, recvmsg, sendmsg } from './libc.ts';

/** A socket address in memory that does not move. */
export interface SocketAddress {
  readonly memory: DataView;
  readonly sizeBytes: number;
}

/**
 * The address of a path, or of `@name` in the abstract name space, without a file; undefined for what
 * is neither, or too long.
 */
export function unixAddress(name: string): SocketAddress | undefined {
  const path = Buffer.from(name);
  const isAbstract = name.startsWith('@');
  if (!(isAbstract || name.startsWith('/')) || path.length >= SOCKADDR_UN.PATH_SIZE) {
    return undefined;
  }
  const memory = new DataView(new SharedArrayBuffer(SOCKADDR_UN.SIZE));
  memory.setUint16(0, AF_UNIX, true);
  path.forEach((byte, index) => {
    memory.setUint8(SOCKADDR_UN.path + index, byte);
  });
  if (isAbstract) memory.setUint8(SOCKADDR_UN.path, 0);
  // Every byte of an abstract name counts; a path ends with a NUL.
  return { memory, sizeBytes: SOCKADDR_UN.path + path.length + (isAbstract ? 0 : 1) };
}

/** struct msghdr, one struct iovec, one data byte, and the control buffer: a struct cmsghdr of one fd. */
const IOVEC_AT = 56;
const DATA_AT = 72;
const CONTROL_AT = 80;
const CONTROL_BYTES = 24;
const CMSG_LEN = 20;

function emptyMessage(): DataView {
  const memory = new DataView(new SharedArrayBuffer(CONTROL_AT + CONTROL_BYTES));
  const base = addressOf(memory);
  memory.setBigUint64(16, BigInt(base + IOVEC_AT), true);
  memory.setBigUint64(24, 1n, true);
  memory.setBigUint64(32, BigInt(base + CONTROL_AT), true);
  memory.setBigUint64(40, BigInt(CONTROL_BYTES), true);
  memory.setBigUint64(IOVEC_AT, BigInt(base + DATA_AT), true);
  memory.setBigUint64(IOVEC_AT + 8, 1n, true);
  return memory;
}

/**
 * One descriptor from a socket.
 *
 * @param flags of recvmsg(2): MSG_CMSG_CLOEXEC, or 0 for one that another program inherits
 * @returns it, or `-errno`; undefined when the message, or the end of the connection, carries none
 */
export function receiveDescriptor(socket: number, flags: number): number | undefined {
  const memory = emptyMessage();
  const received = recvmsg(socket, addressOf(memory), flags);
  if (received < 0) {
    return received;
  }
  const carriesOne =
    memory.getBigUint64(CONTROL_AT, true) === BigInt(CMSG_LEN) &&
    memory.getInt32(CONTROL_AT + 8, true) === SOL_SOCKET &&
    memory.getInt32(CONTROL_AT + 12, true) === SCM_RIGHTS;
  return carriesOne ? memory.getInt32(CONTROL_AT + 16, true) : undefined;
}

/** Sends one descriptor. @returns `-errno`, or the bytes sent */
export function sendDescriptor(socket: number, fd: number, flags: number): number {
  const memory = emptyMessage();
  memory.setBigUint64(CONTROL_AT, BigInt(CMSG_LEN), true);
  memory.setInt32(CONTROL_AT + 8, SOL_SOCKET, true);
  memory.setInt32(CONTROL_AT + 12, SCM_RIGHTS, true);
  memory.setInt32(CONTROL_AT + 16, fd, true);
  return sendmsg(socket, addressOf(memory), flags);
}
